package door_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/worker/door"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A desk opens what lies on it, as a host does: a description of its own each
// time.
type desk map[string]func() (placement.Opened, error)

func (d desk) OpenToken(_ context.Context, token payload.Token) (placement.Opened, error) {
	open, known := d[string(token)]
	if !known {
		return placement.Opened{}, payload.Errorf(payload.Denied, "the token is not one of this host's")
	}
	return open()
}

// segment is sealed or unsealed memory of this size.
func segment(t *testing.T, size int64) string {
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, size))
	file := os.NewFile(uintptr(fd), "payload")
	t.Cleanup(func() { file.Close() })
	return filepath.Join("/proc/self/fd", strconv.Itoa(fd))
}

func reading(path string, offset, size int64) func() (placement.Opened, error) {
	return func() (placement.Opened, error) {
		file, err := os.Open(path)
		return placement.Opened{File: file, Offset: offset, Size: size}, err
	}
}

func writing(path string, size int64) func() (placement.Opened, error) {
	return func() (placement.Opened, error) {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		return placement.Opened{File: file, Size: size, Writable: true}, err
	}
}

func refusing(err error) func() (placement.Opened, error) {
	return func() (placement.Opened, error) { return placement.Opened{}, err }
}

// blocking opens once the channel is closed, and tells when it was asked.
func blocking(asked chan<- struct{}, until <-chan struct{}, then func() (placement.Opened, error)) func() (placement.Opened, error) {
	return func() (placement.Opened, error) {
		asked <- struct{}{}
		<-until
		return then()
	}
}

func silence() *slog.Logger { return slog.New(slog.DiscardHandler) }

// opened starts a door and a client of it.
func opened(t *testing.T, d desk) (path string, client *access.Door) {
	path = filepath.Join(t.TempDir(), "door.sock")
	served, err := door.Listen(path, d, silence())
	require.NoError(t, err)
	client = access.NewDoor(path)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		require.NoError(t, served.Close())
	})
	return path, client
}

func mapped(t *testing.T, client *access.Door, token string) *access.Mapping {
	file, err := client.Open(t.Context(), payload.Token(token))
	require.NoError(t, err)
	m, err := file.Map()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func TestWhatAWriterLeavesAReaderSees(t *testing.T) {
	memory := segment(t, 10_000)
	disk := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(disk, make([]byte, 10_000), 0o600))
	for _, where := range []string{memory, disk} {
		_, client := opened(t, desk{"write": writing(where, 10_000), "read": reading(where, 0, 10_000)})

		writer := mapped(t, client, "write")
		copy(writer.Bytes(), "from memory to memory")
		_, err := writer.WriteAt([]byte("end"), 9_997)
		require.NoError(t, err)
		require.NoError(t, writer.Close())

		reader := mapped(t, client, "read")
		require.Equal(t, "from memory to memory", string(reader.Bytes()[:21]))
		require.Equal(t, "end", string(reader.Bytes()[9_997:]))
		_, err = reader.WriteAt([]byte("x"), 0)
		require.ErrorIs(t, err, payload.Denied)
		require.ErrorIs(t, unix.Mprotect(reader.Bytes()[:4096], unix.PROT_READ|unix.PROT_WRITE), unix.EACCES)
	}
}

func TestAPayloadInsideALargerFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "slab")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("-", 5000)+"payload"+strings.Repeat("-", 5000)), 0o600))
	_, client := opened(t, desk{"read": reading(file, 5000, 7), "none": reading(file, 10_007, 0)})
	require.Equal(t, "payload", string(mapped(t, client, "read").Bytes()))
	empty := mapped(t, client, "none")
	require.NotNil(t, empty.Bytes())
	require.Empty(t, empty.Bytes())
}

func TestAnEmptyPayload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nothing")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, client := opened(t, desk{"read": reading(file, 0, 0)})
	require.Empty(t, mapped(t, client, "read").Bytes(), "its answer has nothing but zeros, and arrives all the same")
}

func TestOpeningAGibibyteTouchesNoPage(t *testing.T) {
	memory := segment(t, 1<<30)
	_, client := opened(t, desk{"read": reading(memory, 0, 1<<30)})
	require.Len(t, mapped(t, client, "read").Bytes(), 1<<30)
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(memory, &stat))
	require.Zero(t, stat.Blocks)
}

func TestAFileThatEndsBeforeThePayloadIsRefused(t *testing.T) {
	memory := segment(t, 100)
	_, client := opened(t, desk{"long": reading(memory, 0, 101), "far": reading(memory, 1, 100), "odd": reading(memory, -1, 5)})
	for _, token := range []string{"long", "far", "odd"} {
		_, err := client.Open(t.Context(), payload.Token(token))
		require.ErrorIs(t, err, payload.Corrupt, token)
	}
}

func TestRefusalsKeepCodeReasonAndMessage(t *testing.T) {
	for name, refusal := range map[string]*payload.Error{
		"code":   payload.Errorf(payload.Expired, "the lease is over: acquire a new one"),
		"reason": payload.Errorf(payload.Conflict, "not yet").Because(payload.NotCommitted),
		"off":    payload.Errorf(payload.Unsupported, "no such tier").Because(payload.TierOff),
		"retry":  payload.Errorf(payload.Unavailable, "soon").Retry(1500 * time.Millisecond),
	} {
		_, client := opened(t, desk{"token": refusing(refusal)})
		_, err := client.Open(t.Context(), payload.Token("token"))
		known, ok := errors.AsType[*payload.Error](err)
		require.True(t, ok, name)
		require.Equal(t, refusal.Code, known.Code, name)
		require.Equal(t, refusal.Reason, known.Reason, name)
		require.Equal(t, refusal.RetryAfter, known.RetryAfter, name)
		require.Equal(t, refusal.Err.Error(), known.Err.Error(), name)
	}
}

func TestADefectStaysInTheDaemonsLog(t *testing.T) {
	_, client := opened(t, desk{"token": refusing(errors.New("open /secret/path: no"))})
	_, err := client.Open(t.Context(), payload.Token("token"))
	require.ErrorIs(t, err, payload.Internal)
	require.NotContains(t, err.Error(), "secret")
}

func TestTokensThatAreNone(t *testing.T) {
	_, client := opened(t, desk{})
	for _, token := range []string{"", "unknown", strings.Repeat("x", 4000), strings.Repeat("x", 5000)} {
		_, err := client.Open(t.Context(), payload.Token(token))
		require.ErrorIs(t, err, payload.Denied)
	}
}

// visitor is a client that speaks the protocol by hand.
type visitor struct {
	t *testing.T
	*net.UnixConn
}

func visit(t *testing.T, path string) visitor {
	conn, err := net.Dial("unixpacket", path)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return visitor{t, conn.(*net.UnixConn)}
}

func request(t *testing.T, token string) []byte {
	frame, err := proto.Marshal(&payloadv1.OpenRequest{Token: []byte(token)})
	require.NoError(t, err)
	return frame
}

func (v visitor) send(frame []byte) {
	_, err := v.Write(frame)
	require.NoError(v.t, err)
}

// receive returns the next answer. Reading without room for control data, it
// turns descriptors down.
func (v visitor) receive() *payloadv1.OpenResponse {
	buffer := make([]byte, 8<<10)
	n, err := v.Read(buffer)
	require.NoError(v.t, err)
	var response payloadv1.OpenResponse
	require.NoError(v.t, proto.Unmarshal(buffer[:n], &response))
	return &response
}

func TestMalformedFramesAreAnsweredAndTheConnectionLives(t *testing.T) {
	path, _ := opened(t, desk{"token": reading(segment(t, 1), 0, 1)})
	v := visit(t, path)
	for _, frame := range [][]byte{{0xff}, {0x0a, 0x7f, 'x'}, make([]byte, 4097), make([]byte, 60_000)} {
		v.send(frame)
		require.Equal(t, string(payload.Invalid), v.receive().GetError().GetReason())
	}
	v.send([]byte{0x10, 0x01}) // a field of a later version, and no token
	require.Equal(t, string(payload.Denied), v.receive().GetError().GetReason())
	v.send(request(t, "token"))
	require.Nil(t, v.receive().GetError())
}

func TestAnEmptyFrameIsAGoodbye(t *testing.T) {
	path, _ := opened(t, desk{})
	v := visit(t, path)
	v.send(nil)
	_, err := v.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestAHalfClosedClientGetsItsAnswers(t *testing.T) {
	path, _ := opened(t, desk{"token": reading(segment(t, 7), 0, 7)})
	v := visit(t, path)
	v.send(request(t, "token"))
	v.send(request(t, "unknown"))
	require.NoError(t, v.CloseWrite())
	require.EqualValues(t, 7, v.receive().GetSize())
	require.Equal(t, string(payload.Denied), v.receive().GetError().GetReason())
	_, err := v.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// descriptors counts what this process, daemon and client in one, has open.
func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestNoDescriptorIsLeftBehind(t *testing.T) {
	memory := segment(t, 4096)
	open := desk{
		"read":    reading(memory, 0, 4096),
		"long":    reading(memory, 0, 8192), // which the client refuses
		"refused": refusing(payload.Errorf(payload.Expired, "over")),
	}
	rudeness(t, open, 1) // by now the runtime has what it needs itself
	before := descriptors(t)
	rudeness(t, open, 50)
	require.Equal(t, before, descriptors(t))
}

// rudeness is a door's whole life among clients good and bad.
func rudeness(t *testing.T, open desk, rounds int) {
	path := filepath.Join(t.TempDir(), "door.sock")
	served, err := door.Listen(path, open, silence())
	require.NoError(t, err)
	client := access.NewDoor(path)
	for range rounds {
		mapUnmap(t, client)
		for _, token := range []string{"long", "refused", "unknown"} {
			_, err := client.Open(t.Context(), payload.Token(token))
			require.Error(t, err)
		}
		impolite(t, path)
	}
	require.NoError(t, client.Close())
	require.NoError(t, served.Close())
}

func mapUnmap(t *testing.T, client *access.Door) {
	file, err := client.Open(t.Context(), payload.Token("read"))
	require.NoError(t, err)
	m, err := file.Map()
	require.NoError(t, err)
	require.NoError(t, m.Close())
}

// impolite sends descriptors of its own, asks more than it listens to, and
// leaves.
func impolite(t *testing.T, path string) {
	conn, err := net.Dial("unixpacket", path)
	require.NoError(t, err)
	v := visitor{t, conn.(*net.UnixConn)}
	_, _, err = v.WriteMsgUnix(request(t, "read"), unix.UnixRights(0, 1, 2), nil)
	require.NoError(t, err)
	require.Nil(t, v.receive().GetError())
	for range 20 {
		v.send(request(t, "read"))
	}
	require.NoError(t, v.Close())
}

func TestIdleConnectionsMakeRoomForOthers(t *testing.T) {
	path, client := opened(t, desk{"token": reading(segment(t, 1), 0, 1)})
	const flood = 1100 // more than a door lets in
	visitors := make([]visitor, flood)
	for i := range visitors {
		visitors[i] = visit(t, path)
		visitors[i].send(request(t, "token"))
		require.Nil(t, visitors[i].receive().GetError())
	}
	mapped(t, client, "token")

	_, err := visitors[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the one that rested longest was shown out")
	newest := visitors[flood-1]
	newest.send(request(t, "token"))
	require.Nil(t, newest.receive().GetError())
}

func TestManyClientsAtOnce(t *testing.T) {
	memory := segment(t, 4096)
	_, client := opened(t, desk{"read": reading(memory, 0, 4096), "refused": refusing(payload.Errorf(payload.Expired, "over"))})
	var readers sync.WaitGroup
	for range 64 {
		readers.Go(func() {
			for range 20 {
				file, err := client.Open(t.Context(), payload.Token("read"))
				if err != nil || file.Size() != 4096 || file.Close() != nil {
					t.Error("an open went wrong", err)
				}
				if _, err := client.Open(t.Context(), payload.Token("refused")); payload.CodeOf(err) != payload.Expired {
					t.Error("a refusal went wrong", err)
				}
			}
		})
	}
	readers.Wait()
}

func TestASlowOpenHoldsUpNobodyElse(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	quick := reading(segment(t, 1), 0, 1)
	_, client := opened(t, desk{"slow": blocking(asked, release, quick), "quick": quick})
	done := make(chan error)
	go func() {
		file, err := client.Open(t.Context(), payload.Token("slow"))
		if err == nil {
			err = file.Close()
		}
		done <- err
	}()
	<-asked
	mapped(t, client, "quick")
	close(release)
	require.NoError(t, <-done)
}

func TestACallerWhoGaveUpMixesNothingUp(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	_, client := opened(t, desk{
		"slow":  blocking(asked, release, reading(segment(t, 1), 0, 1)),
		"quick": reading(segment(t, 2), 0, 2),
	})
	ctx, giveUp := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := client.Open(ctx, payload.Token("slow"))
		done <- err
	}()
	<-asked
	giveUp()
	err := <-done
	require.ErrorIs(t, err, payload.Unavailable)
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	for range 8 { // over whatever connection
		require.EqualValues(t, 2, mapped(t, client, "quick").Size())
	}
}

func TestClosingFinishesWhatIsUnderWay(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	path := filepath.Join(t.TempDir(), "door.sock")
	served, err := door.Listen(path, desk{"slow": blocking(asked, release, reading(segment(t, 5), 0, 5))}, silence())
	require.NoError(t, err)
	v := visit(t, path)
	idle := visit(t, path)
	idle.send(request(t, "unknown")) // so that it was let in
	require.NotNil(t, idle.receive().GetError())
	v.send(request(t, "slow"))
	<-asked
	closed := make(chan error)
	go func() { closed <- served.Close() }()
	_, err = idle.Read(make([]byte, 1)) // closing has begun
	require.ErrorIs(t, err, io.EOF)
	close(release)
	require.EqualValues(t, 5, v.receive().GetSize())
	require.NoError(t, <-closed)
	require.NoError(t, served.Close(), "twice is once")
	require.NoFileExists(t, path)
}

func TestClientsComeBackAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "door.sock")
	open := desk{"token": reading(segment(t, 3), 0, 3)}
	client := access.NewDoor(path)
	defer client.Close()
	for range 3 {
		_, err := client.Open(t.Context(), payload.Token("token"))
		require.ErrorIs(t, err, payload.Unavailable)
		require.NotContains(t, err.Error(), path)

		served, err := door.Listen(path, open, silence())
		require.NoError(t, err)
		require.EqualValues(t, 3, mapped(t, client, "token").Size())
		require.NoError(t, served.Close())
	}
}

func TestAClosedClientOpensNothing(t *testing.T) {
	_, client := opened(t, desk{"token": reading(segment(t, 1), 0, 1)})
	require.NoError(t, client.Close())
	_, err := client.Open(t.Context(), payload.Token("token"))
	require.ErrorIs(t, err, payload.Unavailable)
}

func TestTheSocketIsTheUsersOwn(t *testing.T) {
	path, _ := opened(t, desk{})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600)|os.ModeSocket, info.Mode())
}

func TestASocketThatNobodyAnswersAtIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "door.sock")
	left, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())

	served, err := door.Listen(path, desk{}, silence())
	require.NoError(t, err)
	_, err = door.Listen(path, desk{}, silence())
	require.ErrorIs(t, err, payload.AlreadyExists, "a living door is left alone")
	require.NotContains(t, err.Error(), path)
	visit(t, path)
	require.NoError(t, served.Close())
}

func TestWhereNoSocketCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	for path, code := range map[string]payload.Code{
		file: payload.AlreadyExists,
		filepath.Join(t.TempDir(), "no", "folder"):           payload.Unavailable,
		filepath.Join(t.TempDir(), strings.Repeat("x", 120)): payload.Invalid,
		filepath.Join(file, "door.sock"):                     payload.Unavailable,
	} {
		_, err := door.Listen(path, desk{}, silence())
		require.ErrorIs(t, err, code)
		require.NotContains(t, err.Error(), path)
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
}
