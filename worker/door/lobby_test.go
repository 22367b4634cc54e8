package door

import (
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// connections are served ones, of clients that say nothing.
func connections(t *testing.T, n int) []*net.UnixConn {
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "socket"), Net: "unixpacket"}
	listener, err := net.ListenUnix("unixpacket", address)
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	served := make([]*net.UnixConn, n)
	for i := range served {
		client, err := net.DialUnix("unixpacket", nil, address)
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		served[i], err = listener.AcceptUnix()
		require.NoError(t, err)
		t.Cleanup(func() { served[i].Close() })
	}
	return served
}

func TestAFullLobbyShowsOutWhoRestedLongest(t *testing.T) {
	conns := connections(t, 4)
	l := newLobby(3)
	for _, conn := range conns[:3] {
		require.True(t, l.enter(conn))
		require.True(t, l.rest(conn))
	}
	require.True(t, l.rise(conns[0]), "the first is busy again")
	require.True(t, l.enter(conns[3]))
	require.False(t, l.rise(conns[1]), "the second had rested longest")
	require.True(t, l.rise(conns[2]))
	l.leave(conns[1]) // its visit ends; nothing is freed twice
	require.Len(t, l.inside, 3)
}

func TestALobbyOfBusyClientsLetsTheNextOneWait(t *testing.T) {
	for name, free := range map[string]func(*lobby, *net.UnixConn){
		"until one has done": func(l *lobby, busy *net.UnixConn) {
			require.False(t, l.rest(busy), "it may not stay")
			l.leave(busy)
		},
		"until one leaves": (*lobby).leave,
	} {
		t.Run(name, func(t *testing.T) {
			conns := connections(t, 2)
			synctest.Test(t, func(t *testing.T) {
				l := newLobby(1)
				require.True(t, l.enter(conns[0]))
				var inside bool
				go func() { inside = l.enter(conns[1]) }()
				synctest.Wait()
				require.False(t, inside)
				require.False(t, l.makeRoom(), "nobody rests")
				free(l, conns[0])
				synctest.Wait()
				require.True(t, inside)
				require.True(t, l.rest(conns[1]))
			})
		})
	}
}

func TestAClosedLobbyLetsNobodyIn(t *testing.T) {
	conns := connections(t, 3)
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(1)
		require.True(t, l.enter(conns[0]))
		waiting := make(chan bool, 1)
		go func() { waiting <- l.enter(conns[1]) }()
		synctest.Wait()
		l.close()
		require.False(t, <-waiting)
		require.False(t, l.enter(conns[2]))
		require.False(t, l.rest(conns[0]))
	})
}
