package facade_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Clients that die have to be processes of their own: this binary, run again
// with the name of a role in its environment.
const roleVariable = "FACADE_TEST_ROLE"

var roles = map[string]func(socket string, args []string) error{
	"hold":     holds,
	"bequeath": bequeaths,
	"inherit":  func(string, []string) error { return untilEOF() },
	"join":     joins,
	"sit":      sits,
}

func TestMain(m *testing.M) {
	play, is := roles[os.Getenv(roleVariable)]
	if !is {
		goleak.VerifyTestMain(m)
		return
	}
	if err := play(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// holds is a client that leases a payload for as long as it may, and has an
// allocation that it writes into and does not commit until it is told to.
func holds(socket string, args []string) error {
	w, err := take(socket, args[0])
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if _, err := w.Commit(context.Background()); err != nil {
			return err
		}
		fmt.Println("committed")
	}
	return in.Err()
}

// sits is a client that holds the same until it is killed.
func sits(socket string, args []string) error {
	if _, err := take(socket, args[0]); err != nil {
		return err
	}
	select {}
}

// take says the id of the allocation and the pid that this process believes to
// have.
func take(socket, leased string) (*sdk.Writer, error) {
	client, err := sdk.Dial(context.Background(), socket)
	if err != nil {
		return nil, err
	}
	id, err := payload.ParseID(leased)
	if err != nil {
		return nil, err
	}
	if _, err := client.Hold(context.Background(), id, sdk.LeaseFor(payload.MaxLease)); err != nil {
		return nil, err
	}
	w, err := client.Allocate(context.Background(), mebibyte)
	if err != nil {
		return nil, err
	}
	copy(w.Bytes(), "frame 17")
	fmt.Println(w.ID(), os.Getpid())
	return w, nil
}

// bequeaths is a client that holds as well, and has a child that keeps its
// connection.
func bequeaths(socket string, args []string) error {
	var mine *net.UnixConn
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			mine = conn.(*net.UnixConn)
		}
		return conn, err
	}
	client, err := sdk.Dial(context.Background(), socket, sdk.WithGRPC(grpc.WithContextDialer(dial)))
	if err != nil {
		return err
	}
	id, err := payload.ParseID(args[0])
	if err != nil {
		return err
	}
	if _, err := client.Hold(context.Background(), id, sdk.LeaseFor(payload.MaxLease)); err != nil {
		return err
	}
	heirloom, err := mine.File()
	if err != nil {
		return err
	}
	heir := again("inherit", socket)
	heir.Stdin, heir.ExtraFiles = os.Stdin, []*os.File{heirloom}
	if err := heir.Start(); err != nil {
		return err
	}
	fmt.Println(heir.Process.Pid)
	return untilEOF()
}

// joins is a stranger who learned a session's id.
func joins(socket string, args []string) error {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	lease := payloadv1.NewLeaseServiceClient(conn)
	stream, err := lease.Session(context.Background())
	if err != nil {
		return err
	}
	hello := &payloadv1.SessionRequest_Hello{SessionId: args[0]}
	if err := stream.Send(&payloadv1.SessionRequest{Request: &payloadv1.SessionRequest_Hello_{Hello: hello}}); err != nil {
		return err
	}
	_, attach := stream.Recv()
	_, acquire := lease.Acquire(context.Background(), &payloadv1.AcquireRequest{Id: args[1], SessionId: args[0]})
	_, allocate := payloadv1.NewPayloadServiceClient(conn).Allocate(context.Background(), &payloadv1.AllocateRequest{SessionId: args[0]})
	fmt.Println(status.Code(attach), status.Code(acquire), status.Code(allocate))
	return untilEOF()
}

// rebirths runs two clients one after the other under the same pid, as the first
// process of a PID namespace; a shell, because it has no threads, which take
// pids as well. It kills a client when it is told to.
const rebirths = `for client in first second; do
	echo 41 > /proc/sys/kernel/ns_last_pid
	"$0" "$@" &
	read told
	kill -9 $!
	wait $!
done`

func untilEOF() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func again(role, socket string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{socket}, args...)...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// A child is a client process and what it says. It ends with its test, unless
// it is killed before.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	said *bufio.Scanner
}

func (r *rig) child(role string, args ...string) *child {
	r.t.Helper()
	return r.start(again(role, r.socket, args...))
}

func (r *rig) start(cmd *exec.Cmd) *child {
	r.t.Helper()
	in, err := cmd.StdinPipe()
	require.NoError(r.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, cmd.Start())
	c := &child{t: r.t, cmd: cmd, in: in, said: bufio.NewScanner(out)}
	r.t.Cleanup(func() {
		_ = in.Close()
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return c
}

// line is the next thing that the child says, in words.
func (c *child) line() []string {
	c.t.Helper()
	require.True(c.t, c.said.Scan(), "the child ended: %v", c.said.Err())
	return strings.Fields(c.said.Text())
}

func (c *child) tell(line string) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in, line)
	require.NoError(c.t, err)
}

// kill ends the child by SIGKILL, and leaves its input open: whoever inherited
// that is not to end with it.
func (c *child) kill() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Kill())
	_, _ = c.cmd.Process.Wait()
}

// stop has the child stopped when it returns.
func (c *child) stop() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(unix.SIGSTOP))
	var was unix.WaitStatus
	_, err := unix.Wait4(c.cmd.Process.Pid, &was, unix.WUNTRACED, nil)
	require.NoError(c.t, err)
	require.True(c.t, was.Stopped())
}

// patience is how long a test waits for what has to happen, before it fails.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// freed waits until the payload has no bytes and nobody leases it: what a
// killed client held would last ten minutes otherwise.
func (r *rig) freed(id string) {
	r.t.Helper()
	parsed, err := payload.ParseID(id)
	require.NoError(r.t, err)
	_, err = r.host.AwaitEnd(patience(r.t), "", parsed)
	require.NoError(r.t, err)
}

// doom deletes a payload that is leased.
func (r *rig) doom(id string) {
	r.t.Helper()
	answer, err := r.life.Delete(r.t.Context(), &payloadv1.DeleteRequest{Id: id})
	require.NoError(r.t, err)
	require.Equal(r.t, payloadv1.State_STATE_DELETING, answer.GetPayload().GetState())
}

func TestAKilledClientLeavesNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{})
	c := r.child("hold", p.GetId())
	allocated := c.line()[0]
	require.Equal(t, 1, r.host.Leases().Count)
	r.doom(p.GetId())

	c.kill()

	r.freed(p.GetId())
	r.freed(allocated)
	require.Zero(t, r.host.Leases().Count)
	r.empty()
}

func TestAStoppedClientKeepsWhatItHolds(t *testing.T) {
	r := newRig(t)
	p, q := r.put(content(8), &payloadv1.AllocateRequest{}), r.put(content(8), &payloadv1.AllocateRequest{})
	c, witness := r.child("hold", p.GetId()), r.child("hold", q.GetId())
	allocated, gone := c.line()[0], witness.line()[0]

	c.stop()
	r.line.cut() // as after a minute of pings that nobody answered
	witness.kill()
	r.freed(gone)

	require.Equal(t, 1, r.host.Leases().Count, "the dead one's lease ended, the stopped one's did not")
	require.NoError(t, c.cmd.Process.Signal(unix.SIGCONT))
	c.tell("commit")
	require.Equal(t, []string{"committed"}, c.line())
	c.kill()
	r.delete(allocated)
	r.delete(p.GetId())
	r.delete(q.GetId())
	r.empty()
}

func TestAChildThatInheritedTheConnectionKeepsNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	c := r.child("bequeath", p.GetId())
	var heir int
	_, err := fmt.Sscan(c.line()[0], &heir)
	require.NoError(t, err)
	r.doom(p.GetId())

	c.kill()

	r.freed(p.GetId())
	require.NoError(t, unix.Kill(heir, 0), "the heir lives, and has the connection")
}

func TestAStrangerCannotJoinASession(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	_, id := r.attach(t.Context(), "")
	stranger := r.child("join", id, p.GetId())
	require.Equal(t, []string{"PermissionDenied", "PermissionDenied", "PermissionDenied"}, stranger.line(), "the same user, another process")
	require.Zero(t, r.leases())
}

func TestAPidThatIsGivenAwayAgainConfusesNobody(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	self, err := os.Executable()
	require.NoError(t, err)
	shell := exec.Command("sh", "-c", rebirths, self, r.socket, p.GetId())
	shell.Env = append(os.Environ(), roleVariable+"=sit")
	shell.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if os.Geteuid() != 0 { // root's right, or that of one's own user namespace
		shell.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	}
	parent := r.start(shell)
	before := parent.line()
	parent.tell("next")
	after := parent.line()
	require.Equal(t, before[1], after[1], "two processes, one pid")

	r.freed(before[0])
	require.Equal(t, 1, r.host.Leases().Count, "the second holds, whatever became of the first")
	r.doom(p.GetId())
	parent.kill() // and with the first process of a namespace all others
	r.freed(p.GetId())
	r.freed(after[0])
	r.empty()
}
