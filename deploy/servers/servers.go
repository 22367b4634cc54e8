// Package servers starts the third-party servers that Payload Manager stands
// on (Temporal, an S3 server, PostgreSQL) as child processes on this machine.
// It exists so that one command brings up everything for development, and so
// that tests run against real servers and can make them fail.
//
// Servers listen on loopback or a Unix socket only. They die with the process
// that started them, however it dies, and a terminal's Ctrl-C reaches that
// process alone, which then stops them in its own order.
//
// The Log in a server's options receives what it prints. One that several
// servers share must bear concurrent writes, as os.Stderr does.
//
// It leaves out how servers are installed (deploy/tools does that) and
// everything one would want of a server in production.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// The context given to a Start function or to Restart bounds that call alone,
// never the life of the server. It need not have a deadline: startLimit holds.
const (
	startLimit = time.Minute            // Temporal on a cold, busy disk took 9 s
	probePause = 20 * time.Millisecond  // between two looks at a starting server
	tries      = 5                      // a start that ends at once is tried again
	tryPause   = 200 * time.Millisecond // what Postgres' orphans need to leave
	stopGrace  = 10 * time.Second       // from the polite signal to SIGKILL
	firstPause = 250 * time.Millisecond // before a crashed server is started again
	lastPause  = 10 * time.Second       // the longest such pause
	goodRun    = time.Minute            // a run this long forgets earlier crashes
)

// errEnded marks a server that ended before it answered.
var errEnded = errors.New("ended before it answered")

// A Server is one child process that can be stopped, killed and started again.
// Its methods may be called concurrently.
type Server struct {
	name    string
	command func() *exec.Cmd            // makes the next run's command, once the ports are known
	ready   func(context.Context) error // one look; nil when the server does its work
	quit    syscall.Signal              // asks it to end in good order
	ports   []*port
	cleanup func() // once, after Stop
	log     *tail

	supervised bool
	life       context.Context // ends with Stop
	end        context.CancelFunc

	mu    sync.Mutex
	now   *process // nil while it is down on purpose
	pause time.Duration
}

// start fills in what every server has and awaits its first run.
func start(ctx context.Context, s *Server, log io.Writer) error {
	s.log = &tail{to: log}
	s.life, s.end = context.WithCancel(context.Background())
	s.pause = firstPause
	if s.quit == 0 {
		s.quit = syscall.SIGTERM
	}
	err := reserve(s.ports)
	if err == nil {
		err = s.Restart(ctx)
	}
	if err != nil {
		s.Stop()
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// Stop ends the server in good order, or by force after a grace of ten
// seconds, and returns when it is gone. It is final; a second Stop does nothing.
func (s *Server) Stop() {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt(s.quit)
	release(s.ports)
	if s.cleanup != nil {
		s.cleanup()
		s.cleanup = nil
	}
}

// Kill ends the server as a crash would and leaves it down until Restart. Its
// port stays reserved, so that nobody else answers there meanwhile.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt(syscall.SIGKILL)
}

// Restart starts the server on the same ports and data, and returns when it
// answers. One that runs is stopped in good order before.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt(s.quit)
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for try := 1; ; try++ {
		err := s.launch(ctx)
		if try == tries || !errors.Is(err, errEnded) {
			return err
		}
		if !sleep(ctx, tryPause) {
			return err
		}
	}
}

// bound gives ctx a deadline and ends it when the server is stopped.
func (s *Server) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	unhook := context.AfterFunc(s.life, cancel)
	return ctx, func() { unhook(); cancel() }
}

// launch makes one run of the server and awaits its first answer.
func (s *Server) launch(ctx context.Context) error {
	if s.life.Err() != nil {
		return errors.New("it has been stopped for good")
	}
	p, err := spawn(s.command(), s.log)
	if err != nil {
		return err
	}
	if err := s.await(ctx, p); err != nil {
		p.end(syscall.SIGKILL, 0)
		return err
	}
	s.now = p
	if s.supervised {
		go s.supervise(p, time.Now())
	}
	return nil
}

// await looks at a starting server until it answers, ends, or ctx is done.
func (s *Server) await(ctx context.Context, p *process) error {
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%w (%v); its last words:\n%s", errEnded, p.err, s.log.words())
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w; it said:\n%s", err, s.log.words())
		case <-time.After(probePause):
		}
	}
}

// halt ends the current run, if there is one.
func (s *Server) halt(signal syscall.Signal) {
	if s.now == nil {
		return
	}
	s.now.end(signal, stopGrace)
	s.now = nil
}

// supervise starts the server again when the run p ends by itself. The pauses
// grow as long as it does not come back for good.
func (s *Server) supervise(p *process, since time.Time) {
	<-p.exited
	for {
		pause, ours := s.nextPause(p, time.Since(since))
		if !ours {
			return
		}
		fmt.Fprintf(s.log, "%s ended by itself (%v); starting it again in %v\n", s.name, p.err, pause)
		if !sleep(s.life, pause) || s.revive(p) {
			return
		}
	}
}

// nextPause tells how long to wait before p is replaced, and whether that is
// still wanted: not when p was ended on purpose.
func (s *Server) nextPause(p *process, ran time.Duration) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ran > goodRun {
		s.pause = firstPause
	}
	pause := s.pause
	s.pause = min(2*pause, lastPause)
	return pause, s.now == p
}

// revive replaces the ended run p. It reports true when there is nothing more
// to do: the server is back, or nobody wants it back.
func (s *Server) revive(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != p {
		return true
	}
	ctx, cancel := s.bound(s.life)
	defer cancel()
	if err := s.launch(ctx); err != nil {
		fmt.Fprintf(s.log, "%s: %v\n", s.name, err)
		return false
	}
	return true
}

// sleep reports whether it slept the whole time.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
