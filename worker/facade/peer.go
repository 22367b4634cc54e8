package facade

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
)

// A peer is the process at the far side of one connection. Over a Unix socket
// the kernel says who it was that connected, by a pidfd; a pid would say
// nothing, because it is given away again and means another process in another
// PID namespace.
type peer struct {
	credentials.CommonAuthInfo
	uid   int    // -1: unknown, as over TCP
	birth uint64 // which process of this boot; 0: the kernel cannot tell
	fd    *os.File
	key   uint64 // in deaths, where its death is awaited; 0: nowhere

	uses atomic.Int32 // the connection and its sessions
	hang func()       // up
	// Of its sessions, under their lock.
	dead  bool
	holds map[*session]bool
}

// AuthType implements credentials.AuthInfo.
func (*peer) AuthType() string { return "local" }

func newPeer() *peer {
	p := &peer{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity},
		uid:            -1, hang: func() {}, holds: map[*session]bool{},
	}
	p.uses.Store(1)
	return p
}

// owner is what a session's id is bound to: the same for all connections of one
// process, and for no other process where the kernel can tell them apart.
func (p *peer) owner() []byte { return fmt.Appendf(nil, "uid %d process %d", p.uid, p.birth) }

// errGone is a peer that died before it was looked at.
var errGone = errors.New("the process that connected is gone")

// identify asks the kernel who connected. Where it cannot tell, as over TCP or
// before Linux 6.5, the peer stays unknown and nobody sees it die.
func (p *peer) identify(conn net.Conn) error {
	socket, is := conn.(syscall.Conn)
	if _, local := conn.LocalAddr().(*net.UnixAddr); !is || !local {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var asked error
	if err := raw.Control(func(fd uintptr) { asked = p.ask(int(fd)) }); err != nil {
		return err
	}
	return asked
}

func (p *peer) ask(socket int) error {
	credentials, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	p.uid = int(credentials.Uid)
	fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch err {
	case nil:
		p.fd = os.NewFile(uintptr(fd), "pidfd")
		p.birth = birth(fd)
		return nil
	case unix.ESRCH, unix.EINVAL: // reaped already; the former since Linux 6.16
		return errGone
	default:
		return nil // an older kernel, or no descriptor left: deadlines are the net
	}
}

// birth is the inode of a pidfd: since Linux 6.9 one for each process, never
// used again in a boot. Before that all pidfds share one, which says nothing.
func birth(pidfd int) uint64 {
	var system unix.Statfs_t
	var file unix.Stat_t
	if unix.Fstatfs(pidfd, &system) != nil || int64(system.Type) != unix.PID_FS_MAGIC || unix.Fstat(pidfd, &file) != nil {
		return 0
	}
	return file.Ino
}

// A lobby is a listener that looks at who comes in.
type lobby struct {
	net.Listener
	deaths *deaths
	log    *slog.Logger
}

// Accept returns the next connection whose process still lives.
func (l *lobby) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := newPeer()
		if err := p.identify(conn); err != nil {
			l.log.Debug("a connection was refused", "error", err)
			_ = conn.Close()
			continue
		}
		p.hang = func() { _ = conn.Close() }
		l.deaths.await(p)
		return &visit{Conn: conn, peer: p, leave: sync.OnceFunc(func() { l.deaths.release(p) })}, nil
	}
}

// A visit is a connection and who is at its far side.
type visit struct {
	net.Conn
	peer  *peer
	leave func()
}

func (v *visit) Close() error {
	v.leave()
	return v.Conn.Close()
}

// doorman is how a server learns who is at the far side: no secrets are
// exchanged, the socket's permissions decide who comes in.
type doorman struct{}

var _ credentials.TransportCredentials = doorman{}

// ServerHandshake implements credentials.TransportCredentials.
func (doorman) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if v, is := conn.(*visit); is {
		return conn, v.peer, nil
	}
	return conn, newPeer(), nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (doorman) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (doorman) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "local"}
}

// Clone implements credentials.TransportCredentials.
func (d doorman) Clone() credentials.TransportCredentials { return d }

// OverrideServerName implements credentials.TransportCredentials.
func (doorman) OverrideServerName(string) error { return nil }

// peerOf is who calls.
func peerOf(ctx context.Context) *peer {
	if known, ok := grpcpeer.FromContext(ctx); ok {
		if p, ours := known.AuthInfo.(*peer); ours {
			return p
		}
	}
	return newPeer() // of a server that was not made by NewServer
}
