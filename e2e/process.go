package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// BuildDaemon builds the daemon's program at path, for tests that kill it: what
// runs in their own process cannot be killed alone.
func BuildDaemon(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/payload-manager/payload-manager/worker/payload-manager").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the daemon: %w: %s", err, out)
	}
	return nil
}

// A Process is a daemon or a vault as a process of its own. It ends with this
// one at the latest, however that ends.
type Process struct {
	Pid    int
	exited chan struct{}
	err    error // once exited is closed

	mu  sync.Mutex
	log strings.Builder
}

// StartProcess starts the program and returns once it has printed a line that
// contains ready, on either output.
func StartProcess(ctx context.Context, ready, program string, args ...string) (*Process, error) {
	p := &Process{exited: make(chan struct{})}
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	serving := make(chan struct{})
	go p.read(read, ready, serving)
	started := make(chan error)
	go p.run(cmd, write, started)
	if err := <-started; err != nil {
		return nil, err
	}
	select {
	case <-serving:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("it ended before it was ready: %s", p.Log())
	case <-ctx.Done():
		p.Kill()
		return nil, fmt.Errorf("it was not ready in time: %s", p.Log())
	}
}

// run keeps the thread that started the process until the process has ended:
// the kernel sends the parent's death signal when that thread ends.
func (p *Process) run(cmd *exec.Cmd, output io.Closer, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err != nil {
		output.Close()
		started <- err
		return
	}
	p.Pid = cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	output.Close()
	close(p.exited)
}

func (p *Process) read(output io.Reader, ready string, serving chan<- struct{}) {
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if serving != nil && strings.Contains(lines.Text(), ready) {
			close(serving)
			serving = nil
		}
	}
	_, _ = io.Copy(io.Discard, output) // after a line too long to scan
}

// Log is what the process printed so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Kill ends the process without its noticing, and returns when it is gone.
// Killing what has ended does nothing.
func (p *Process) Kill() { _ = p.end(syscall.SIGKILL) }

// Stop asks the process to end, and returns how it did.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(signal syscall.Signal) error {
	select {
	case <-p.exited: // its number may be another's by now
	default:
		_ = syscall.Kill(p.Pid, signal) // it may be ending
		<-p.exited
	}
	return p.err
}
