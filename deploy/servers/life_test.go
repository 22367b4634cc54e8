package servers_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/deploy/servers"
)

// parentOf makes this test binary a process that starts one server, says where
// it listens, and waits to be killed. parentFolder is for the server's data.
const (
	parentOf     = "SERVERS_TEST_PARENT_OF"
	parentFolder = "SERVERS_TEST_FOLDER"
)

func TestMain(m *testing.M) {
	if os.Getenv(parentOf) == "" {
		os.Exit(m.Run())
	}
	fmt.Println(startAny(os.Getenv(parentOf), os.Getenv(parentFolder)))
	select {}
}

// startAny returns the network and address of the server that it started.
func startAny(kind, folder string) (network, address string, err error) {
	ctx := context.Background()
	switch kind {
	case "temporal":
		temporal, err := servers.StartTemporal(ctx, servers.TemporalOptions{Dir: folder, UIPort: servers.NoUI})
		if err != nil {
			return "", "", err
		}
		return "tcp", temporal.Address, nil
	case "postgres":
		_, err := servers.StartPostgres(ctx, servers.PostgresOptions{Dir: folder, NoSync: true})
		return "unix", filepath.Join(folder, "sockets", ".s.PGSQL.5432"), err
	default:
		s3, err := servers.StartS3(ctx, servers.S3Options{Dir: folder})
		if err != nil {
			return "", "", err
		}
		return "tcp", s3.Endpoint, nil
	}
}

func TestAServerDiesWithItsParent(t *testing.T) {
	for _, kind := range []string{"temporal", "s3", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), parentOf+"="+kind, parentFolder+"="+walkable(t))
			out, err := parent.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, parent.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			said := strings.Fields(line)
			require.True(t, listens(said[0], said[1]), line)

			require.NoError(t, parent.Process.Kill())
			_ = parent.Wait()

			require.Eventually(t, func() bool { return !listens(said[0], said[1]) }, 5*time.Second, 10*time.Millisecond)
		})
	}
}

func listens(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func TestAServerOutlivesTheThreadThatStartedIt(t *testing.T) {
	var s3 *servers.S3
	var err error
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		s3, err = servers.StartS3(context.Background(), servers.S3Options{})
	})
	done.Wait()
	require.NoError(t, err)
	defer s3.Stop()
	time.Sleep(100 * time.Millisecond)
	require.True(t, answers(s3.Endpoint))
}

func TestStopIsFinal(t *testing.T) {
	s3, err := servers.StartS3(t.Context(), servers.S3Options{})
	require.NoError(t, err)
	s3.Stop()
	s3.Stop()
	s3.Kill()
	require.False(t, answers(s3.Endpoint))
	require.ErrorContains(t, s3.Restart(t.Context()), "stopped")
}

func TestThePortStaysReservedDuringAnOutage(t *testing.T) {
	s3, err := servers.StartS3(t.Context(), servers.S3Options{})
	require.NoError(t, err)
	defer s3.Stop()
	s3.Kill()

	_, err = listenOnAnyPortOf(t, s3.Endpoint)
	require.ErrorIs(t, err, unix.EADDRINUSE)
	require.NoError(t, s3.Restart(t.Context()))
	s3.Stop()

	free, err := listenOnAnyPortOf(t, s3.Endpoint)
	require.NoError(t, err, "Stop gives the port back")
	require.NoError(t, free.Close())
}

// listenOnAnyPortOf asks the kernel for any free port out of a range that has
// but the one of endpoint.
func listenOnAnyPortOf(t *testing.T, endpoint string) (net.Listener, error) {
	const ipLocalPortRange = 51 // from Linux 6.3 on
	port := portOf(t, endpoint)
	var refused error
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, ipLocalPortRange, port<<16|port)
		})
	}}
	listener, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if refused != nil {
		t.Skip("this kernel cannot narrow the range of ports")
	}
	return listener, err
}

func TestATakenPortIsSaidAtOnce(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, err = servers.StartS3(t.Context(), servers.S3Options{Port: portOf(t, taken.Addr().String())})
	require.ErrorContains(t, err, "address already in use")
}

func TestAServerThatEndsAtOnceSaysWhy(t *testing.T) {
	t.Setenv("PAYLOAD_VERSITYGW_BIN", script(t, "echo the moon is wrong; exit 3"))
	_, err := servers.StartS3(t.Context(), servers.S3Options{})
	require.ErrorContains(t, err, "the moon is wrong")
	require.ErrorContains(t, err, "exit status 3")
}

func TestAMissingProgramSaysWhatToDo(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("PATH", "/nowhere")
	_, err := servers.StartTemporal(t.Context(), servers.TemporalOptions{})
	require.ErrorContains(t, err, "run make tools")
}

func TestAServerThatNeverAnswersIsEnded(t *testing.T) {
	t.Setenv("PAYLOAD_VERSITYGW_BIN", script(t, "exec sleep 100"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := servers.StartS3(ctx, servers.S3Options{})
	require.ErrorContains(t, err, "no answer")
}

func TestACrashedServerComesBackWhenSupervised(t *testing.T) {
	var log lockedBuffer
	s3, err := servers.StartS3(t.Context(), servers.S3Options{Log: &log, Supervise: true})
	require.NoError(t, err)
	defer s3.Stop()
	for range 2 {
		crash(t, s3.Endpoint)
		require.Eventually(t, func() bool { return answers(s3.Endpoint) }, 10*time.Second, 20*time.Millisecond)
	}
	require.Contains(t, log.String(), "starting it again")
}

func TestAKilledServerStaysDownAlthoughSupervised(t *testing.T) {
	s3, err := servers.StartS3(t.Context(), servers.S3Options{Supervise: true})
	require.NoError(t, err)
	defer s3.Stop()
	s3.Kill()
	time.Sleep(time.Second)
	require.False(t, answers(s3.Endpoint))
	require.NoError(t, s3.Restart(t.Context()))
}

// crash kills the server behind the back of the package.
func crash(t *testing.T, endpoint string) {
	children, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	for _, file := range children {
		pids, _ := os.ReadFile(file)
		for _, pid := range strings.Fields(string(pids)) {
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if bytes.Contains(cmdline, []byte(endpoint)) {
				number, err := strconv.Atoi(pid)
				require.NoError(t, err)
				require.NoError(t, unix.Kill(number, unix.SIGKILL))
				require.Eventually(t, func() bool { return !answers(endpoint) }, time.Second, time.Millisecond)
				return
			}
		}
	}
	t.Fatal("no child serves " + endpoint)
}

func answers(endpoint string) bool {
	response, err := http.Get("http://" + endpoint + "/health")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func portOf(t *testing.T, address string) int {
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	return number
}

func script(t *testing.T, body string) string {
	path := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700))
	return path
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
