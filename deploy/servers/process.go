package servers

import (
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipeGrace is how long an ended child's output is still read when somebody
// else, such as a backend of Postgres, holds the other end of the pipe.
const pipeGrace = time.Second

// A process is one run of a child, in a process group of its own.
type process struct {
	pid    int
	exited chan struct{}
	err    error // how it ended; read it after exited is closed

	mu     sync.Mutex // between a signal and the moment the pid is given back
	reaped bool
}

// spawn starts cmd so that it dies with us. The kernel sends that signal when
// the *thread* that started the child ends, so a goroutine keeps its thread
// until the child is gone.
func spawn(cmd *exec.Cmd, output io.Writer) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = pipeGrace
	p := &process{exited: make(chan struct{})}
	started := make(chan error)
	go p.run(cmd, started)
	return p, <-started
}

func (p *process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	p.reap(cmd)
}

// reap awaits the child's end, kills what is left of its group while the group
// number is still ours, and only then gives the pid back.
func (p *process) reap(cmd *exec.Cmd) {
	for unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	p.err = cmd.Wait()
	p.reaped = true
	close(p.exited)
}

// end sends signal, follows it with SIGKILL after grace, and returns when the
// process is gone.
func (p *process) end(signal syscall.Signal, grace time.Duration) {
	p.signal(signal)
	select {
	case <-p.exited:
		return
	case <-time.After(grace):
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// signal reaches the whole group, and nobody once the process was reaped.
func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.pid, signal)
	}
}
