package vault

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Options of a vault process.
type Options struct {
	Socket  string
	EndWith int       // a process whose end ends the vault; 0: none
	Ready   io.Writer // is told "ready" once the socket answers; may be nil
	Log     *slog.Logger
}

// lookEvery is how often a vault looks whether its socket's path is still there.
const lookEvery = time.Second

// Run is the vault process: it keeps memory until ctx ends, or until nobody can
// need it any more, as the package says.
func Run(ctx context.Context, o Options) error {
	// A vault allocates next to nothing: keep it small rather than quick.
	debug.SetGCPercent(20)
	ctx, end := context.WithCancel(ctx)
	defer end()
	if o.EndWith != 0 {
		if err := endWith(o.EndWith, end); err != nil {
			return err
		}
	}
	server, err := Listen(o.Socket, o.Log)
	if err != nil {
		return err
	}
	if o.Ready != nil {
		if _, err := io.WriteString(o.Ready, ready); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	debug.FreeOSMemory() // what starting the program took
	server.untilForsaken(ctx, o.Socket)
	return server.Close()
}

// endWith calls end when the process ends. If it has ended already, and its
// number is free, that is now.
func endWith(pid int, end func()) error {
	process, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		end()
		return nil
	case err != nil:
		return payload.Errorf(payload.Invalid, "the process to end with cannot be watched: %w", err)
	}
	go func() {
		_ = awaitEnd(context.Background(), process) // cannot be interrupted
		end()
	}()
	return nil
}

// untilForsaken returns when ctx ends, or when no daemon is connected and none
// can find the socket.
func (s *Server) untilForsaken(ctx context.Context, path string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && !s.Connected() {
			s.log.Info("the socket was removed, and no daemon is connected: ending")
			return
		}
	}
}
