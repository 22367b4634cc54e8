package vault_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/worker/vault"
)

// The test binary is also the vault process, where a test wants one to kill.
const (
	socketVariable = "VAULT_TEST_SOCKET"
	filesVariable  = "VAULT_TEST_FILES" // how many it may open once it answers
	parentVariable = "VAULT_TEST_PARENT"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(socketVariable); socket != "" {
		beVault(socket)
	}
	goleak.VerifyTestMain(m)
}

// beVault is the process. It ends at the latest with the test.
func beVault(socket string) {
	parent, _ := strconv.Atoi(os.Getenv(parentVariable))
	err := vault.Run(context.Background(), vault.Options{Socket: socket, EndWith: parent, Ready: limited{}, Log: discard()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// limited lowers the limit of open files before it says that the vault is
// ready.
type limited struct{}

func (limited) Write(line []byte) (int, error) {
	if files, err := strconv.ParseUint(os.Getenv(filesVariable), 10, 64); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
			return 0, err
		}
	}
	return os.Stdout.Write(line)
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// process starts a vault that can be killed.
func process(t testing.TB, environ ...string) (socket string, cmd *exec.Cmd) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "vault.sock")
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), socketVariable+"="+socket, parentVariable+"="+strconv.Itoa(os.Getpid()))
	cmd.Env = append(cmd.Env, environ...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	var line [6]byte
	_, err = io.ReadFull(out, line[:])
	require.NoError(t, err)
	require.Equal(t, "ready\n", string(line[:]))
	return socket, cmd
}

// open starts a vault in this process.
func open(t testing.TB) (socket string, server *vault.Server) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "vault.sock")
	server, err := vault.Listen(socket, discard())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return socket, server
}

var me = vault.Owner{7}

func connect(t testing.TB, socket string) *vault.Client {
	t.Helper()
	client, err := vault.Dial(t.Context(), socket, me)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func memory(t testing.TB, content string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	file := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { file.Close() })
	_, err = file.WriteString(content)
	require.NoError(t, err)
	return file
}

func content(t *testing.T, c *vault.Client, label string) string {
	t.Helper()
	file, err := c.Fetch(t.Context(), label)
	require.NoError(t, err)
	defer file.Close()
	all, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	require.NoError(t, err)
	return string(all)
}

type kept struct {
	size            int64
	sealed, retired bool
}

func list(t testing.TB, c *vault.Client) map[string]kept {
	t.Helper()
	all := map[string]kept{}
	require.NoError(t, c.List(t.Context(), func(label string, size int64, sealed, retired bool) error {
		_, twice := all[label]
		require.False(t, twice)
		all[label] = kept{size, sealed, retired}
		return nil
	}))
	return all
}

// descriptors counts the open ones of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	return len(all)
}

// comesTo waits: a connection's end is seen by the vault in its own time.
func comesTo(t *testing.T, want, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return descriptors(t, pid) == want }, 10*time.Second, time.Millisecond)
}

func refused(t *testing.T, code payload.Code, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, payload.CodeOf(err), "%v", err)
	require.NotContains(t, err.Error(), "/")
	require.NotContains(t, err.Error(), "vault.sock")
}

func TestOneSegmentsLife(t *testing.T) {
	socket, _ := open(t)
	c := connect(t, socket)
	file := memory(t, "hello")
	require.NoError(t, c.Keep(t.Context(), "a", file))
	require.NoError(t, c.Keep(t.Context(), "a", file), "keeping twice is keeping once")
	refused(t, payload.AlreadyExists, c.Keep(t.Context(), "a", memory(t, "other")))
	require.Equal(t, "hello", content(t, c, "a"))
	require.Equal(t, map[string]kept{"a": {size: 5}}, list(t, c))

	_, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	require.NoError(t, err)
	require.Equal(t, map[string]kept{"a": {size: 5, sealed: true}}, list(t, c))
	require.NoError(t, c.Retire(t.Context(), "a"))
	require.NoError(t, c.Retire(t.Context(), "a"))
	require.Equal(t, map[string]kept{"a": {size: 5, sealed: true, retired: true}}, list(t, c))

	require.NoError(t, c.Forget(t.Context(), "a"))
	require.NoError(t, c.Forget(t.Context(), "a"), "forgetting nothing does nothing")
	require.NoError(t, c.Retire(t.Context(), "a"))
	_, err = c.Fetch(t.Context(), "a")
	refused(t, payload.NotFound, err)
	require.Empty(t, list(t, c))
}

func TestLabels(t *testing.T) {
	socket, _ := open(t)
	c := connect(t, socket)
	longest := strings.Repeat("l", 255)
	require.NoError(t, c.Keep(t.Context(), longest, memory(t, "x")))
	require.Contains(t, list(t, c), longest)
	for _, label := range []string{"", longest + "l"} {
		refused(t, payload.Invalid, c.Keep(t.Context(), label, memory(t, "x")))
		refused(t, payload.Invalid, c.Forget(t.Context(), label))
	}
	closed := memory(t, "x")
	require.NoError(t, closed.Close())
	refused(t, payload.Internal, c.Keep(t.Context(), "closed", closed))
	require.Len(t, list(t, c), 1)
}

func TestMemoryOutlivesItsDaemon(t *testing.T) {
	socket, cmd := process(t)
	first := connect(t, socket)
	idle := descriptors(t, cmd.Process.Pid)
	file := memory(t, "outlives")
	require.NoError(t, first.Keep(t.Context(), "a", file))
	require.NoError(t, file.Close())
	require.NoError(t, first.Close())

	second := connect(t, socket)
	require.Equal(t, first.Vault(), second.Vault(), "it is the same vault")
	require.Equal(t, "outlives", content(t, second, "a"))
	require.NoError(t, second.Forget(t.Context(), "a"))
	require.Equal(t, idle, descriptors(t, cmd.Process.Pid))
}

func TestTheEndOfTheVaultIsNoticed(t *testing.T) {
	socket, cmd := process(t)
	c := connect(t, socket)
	require.NoError(t, c.Keep(t.Context(), "a", memory(t, "x")))
	require.NoError(t, cmd.Process.Kill())
	<-c.Done()
	refused(t, payload.Unavailable, c.Keep(t.Context(), "b", memory(t, "x")))
	_, err := c.Fetch(t.Context(), "a")
	refused(t, payload.Unavailable, err)
	_, err = vault.Dial(t.Context(), socket, me)
	refused(t, payload.Unavailable, err)
}

// Requests under way when the vault dies all end, each with an answer or the
// news.
func TestNobodyWaitsForADeadVault(t *testing.T) {
	socket, cmd := process(t)
	c := connect(t, socket)
	file := memory(t, "x")
	var asking sync.WaitGroup
	begun := make(chan struct{}, 1)
	for i := range 8 {
		asking.Go(func() {
			for n := 0; ; n++ {
				err := c.Keep(context.Background(), fmt.Sprintf("%d.%d", i, n), file)
				if err != nil {
					refusedFrom(t, err)
					return
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	<-begun
	require.NoError(t, cmd.Process.Kill())
	asking.Wait()
}

func refusedFrom(t *testing.T, err error) {
	if payload.CodeOf(err) != payload.Unavailable {
		t.Errorf("not Unavailable: %v", err)
	}
}

func TestAnotherConnectionTakesOver(t *testing.T) {
	socket, _ := open(t)
	first := connect(t, socket)
	require.NoError(t, first.Keep(t.Context(), "a", memory(t, "x")))
	second := connect(t, socket)
	<-first.Done()
	require.Contains(t, list(t, second), "a")
}

func TestAnotherOwnerIsRefusedWhileAnythingIsKept(t *testing.T) {
	socket, _ := open(t)
	c := connect(t, socket)
	require.NoError(t, c.Keep(t.Context(), "a", memory(t, "x")))
	_, err := vault.Dial(t.Context(), socket, vault.Owner{8})
	refused(t, payload.Denied, err)
	require.Contains(t, list(t, c), "a", "whoever was there goes on")

	require.NoError(t, c.Forget(t.Context(), "a"))
	other, err := vault.Dial(t.Context(), socket, vault.Owner{8})
	require.NoError(t, err)
	require.NoError(t, other.Close())
}

// raw connects without a Client.
func raw(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unixpacket", socket)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}

func hello(version uint16) []byte {
	frame := binary.BigEndian.AppendUint16([]byte{1}, version)
	return append(frame, me[:]...)
}

func ask(t *testing.T, conn *net.UnixConn, frame []byte, files ...*os.File) []byte {
	t.Helper()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if fds != nil {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := conn.WriteMsgUnix(frame, rights, nil)
	require.NoError(t, err)
	answer := make([]byte, 1<<10)
	n, err := conn.Read(answer)
	require.NoError(t, err)
	return answer[:n]
}

func TestAnotherVersionIsToldTheVaults(t *testing.T) {
	socket, _ := open(t)
	answer := ask(t, raw(t, socket), hello(2))
	require.NotZero(t, answer[0])
	require.EqualValues(t, 1, binary.BigEndian.Uint16(answer[1:]))
}

func TestAVaultOfAnotherVersionIsRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vault.sock")
	listener, err := net.Listen("unixpacket", socket)
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 100))
		_, _ = conn.Write(append([]byte{6, 0, 9}, make([]byte, 16)...))
	}()
	_, err = vault.Dial(t.Context(), socket, me)
	refused(t, payload.Unsupported, err)
}

// Descriptors that come where none belong, or too many of them, are closed.
func TestNonsenseLeaksNothing(t *testing.T) {
	socket, cmd := process(t)
	c := connect(t, socket)
	idle := descriptors(t, cmd.Process.Pid) // its connection among them
	require.NoError(t, c.Close())

	conn, file := raw(t, socket), memory(t, "x")
	require.Zero(t, ask(t, conn, hello(1))[0])
	for _, request := range []struct {
		frame string
		files []*os.File
	}{
		{"\x02", []*os.File{file}},
		{"\x02a", nil},
		{"\x02a", []*os.File{file, file}},
		{"\x02a", []*os.File{file, file, file, file, file, file}},
		{"\x02" + strings.Repeat("l", 256), []*os.File{file}},
		{"\x05a", []*os.File{file}},
		{"\x06", nil},
		{"\x06\xff\xff\xff\xff", nil},
		{"\x63what", []*os.File{file}},
		{"\x00", []*os.File{file}},
	} {
		ask(t, conn, []byte(request.frame), request.files...)
	}
	comesTo(t, idle, cmd.Process.Pid)
	conn.Close()
	require.Empty(t, list(t, connect(t, socket)))
}

// The daemon dies with requests on their way: the vault holds each or holds it
// not, and nothing else.
func TestADaemonThatDiesInTheMiddleOfAPut(t *testing.T) {
	socket, cmd := process(t)
	first := connect(t, socket)
	idle := descriptors(t, cmd.Process.Pid) // its connection among them
	require.NoError(t, first.Close())
	file := memory(t, "x")
	for n := range 50 {
		conn := raw(t, socket)
		require.Zero(t, ask(t, conn, hello(1))[0])
		for i := range n % 5 {
			_, _, err := conn.WriteMsgUnix([]byte(fmt.Sprintf("\x02%d.%d", n, i)), unix.UnixRights(int(file.Fd())), nil)
			require.NoError(t, err)
		}
		conn.Close()
	}
	c := connect(t, socket)
	all := list(t, c)
	comesTo(t, idle+len(all), cmd.Process.Pid)
	for label := range all {
		require.NoError(t, c.Forget(t.Context(), label))
	}
	comesTo(t, idle, cmd.Process.Pid)
}

func TestAnotherUserIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("/tmp", "vault-test-") // where others may look in
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	socket := filepath.Join(dir, "vault.sock")
	server, err := vault.Listen(socket, discard())
	require.NoError(t, err)
	defer server.Close()

	_, err = asNobody(socket)
	require.ErrorIs(t, err, unix.EACCES, "the socket's mode keeps others out")
	require.NoError(t, os.Chmod(socket, 0o666))
	n, err := asNobody(socket)
	require.NoError(t, err)
	require.Zero(t, n, "and where it would not, the vault shows them out unanswered")
}

// asNobody says hello on a thread that is another user, and is not used again.
func asNobody(socket string) (answered int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			err = errno
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			return
		}
		_ = unix.Send(fd, hello(1), unix.MSG_NOSIGNAL) // it may be shown out before
		answered, err = unix.Read(fd, make([]byte, 100))
		if err == unix.ECONNRESET {
			err = nil
		}
		answered = max(answered, 0)
	}()
	<-done
	return answered, err
}

func TestTenThousandSegments(t *testing.T) {
	const most, callers = 10_000, 64
	socket, cmd := process(t)
	c := connect(t, socket)
	idle := descriptors(t, cmd.Process.Pid)
	file := memory(t, "x")
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := i; n < most; n += callers {
				if err := c.Keep(t.Context(), fmt.Sprintf("segment %d", n), file); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, idle+most, descriptors(t, cmd.Process.Pid))
	require.Len(t, list(t, c), most)
	require.NoError(t, c.Close())

	c = connect(t, socket)
	left := list(t, c)
	require.Len(t, left, most)
	for label := range left {
		require.NoError(t, c.Forget(t.Context(), label))
	}
	require.Empty(t, list(t, c))
	comesTo(t, idle, cmd.Process.Pid)
}

func TestAFullVaultSaysSoAndCanBeEmptied(t *testing.T) {
	socket, _ := process(t, filesVariable+"=24")
	c := connect(t, socket)
	file := memory(t, "x")
	kept := 0
	var err error
	for err == nil {
		if err = c.Keep(t.Context(), strconv.Itoa(kept), file); err == nil {
			kept++
		}
	}
	refused(t, payload.Exhausted, err)
	require.Positive(t, kept)
	require.NoError(t, c.Forget(t.Context(), "0"))
	require.NoError(t, c.Keep(t.Context(), "again", file))
	require.Len(t, list(t, c), kept)
}

// A caller who gives up leaves nothing open, and the connection in order.
func TestACallerWhoGivesUp(t *testing.T) {
	socket, _ := open(t)
	c := connect(t, socket)
	require.NoError(t, c.Keep(t.Context(), "a", memory(t, "hello")))
	before := descriptors(t, os.Getpid())
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if file, err := c.Fetch(gone, "a"); err == nil {
			file.Close()
		}
	}
	require.Equal(t, "hello", content(t, c, "a"))
	require.Eventually(t, func() bool { return descriptors(t, os.Getpid()) <= before }, 10*time.Second, time.Millisecond)
}

func TestASecondVaultAtTheSameSocketIsRefused(t *testing.T) {
	socket, _ := open(t)
	_, err := vault.Listen(socket, discard())
	refused(t, payload.AlreadyExists, err)

	other := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	_, err = vault.Listen(other, discard())
	refused(t, payload.AlreadyExists, err)
	require.FileExists(t, other)
}

func TestASocketLeftBehindIsReplaced(t *testing.T) {
	socket, cmd := process(t)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	server, err := vault.Listen(socket, discard())
	require.NoError(t, err)
	connect(t, socket)
	require.NoError(t, server.Close())
}

func TestEnd(t *testing.T) {
	socket, cmd := process(t)
	c := connect(t, socket)
	require.NoError(t, vault.End(t.Context(), socket))
	<-c.Done()
	require.Error(t, cmd.Wait(), "SIGTERM: the test's process handles no signal")
	require.NoError(t, vault.End(t.Context(), socket), "ending none is ending one")
}

func TestAStoppedVaultIsKilledAtTheDeadline(t *testing.T) {
	socket, cmd := process(t)
	require.NoError(t, cmd.Process.Signal(unix.SIGSTOP))
	hurried, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.NoError(t, vault.End(hurried, socket))
}

func TestAVaultThatNobodyCanReachEnds(t *testing.T) {
	socket, cmd := process(t)
	c := connect(t, socket)
	require.NoError(t, c.Keep(t.Context(), "a", memory(t, "x")))
	require.NoError(t, os.Remove(socket))
	require.Contains(t, list(t, c), "a", "not while its daemon is there")
	require.NoError(t, c.Close())
	require.NoError(t, cmd.Wait())
}

func TestAVaultEndsWithTheProcessItWasToldOf(t *testing.T) {
	companion := exec.Command("sleep", "1000")
	require.NoError(t, companion.Start())
	_, cmd := process(t, parentVariable+"="+strconv.Itoa(companion.Process.Pid))
	require.NoError(t, companion.Process.Kill())
	_ = companion.Wait() // killed
	require.NoError(t, cmd.Wait())
}
