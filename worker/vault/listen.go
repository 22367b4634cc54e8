package vault

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// mode lets the daemon's user in, and nobody else.
const mode = 0o600

// listen makes the socket, with its mode from its first moment on. A socket at
// which nobody answers is replaced.
func listen(path string) (*net.UnixListener, error) {
	if conn, err := dial(context.Background(), path); err == nil {
		conn.Close()
		return nil, payload.Errorf(payload.AlreadyExists, "another vault listens here: use it, or choose another socket")
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: restrict}
	l, err := config.Listen(context.Background(), "unixpacket", path)
	if err != nil {
		return nil, payload.Errorf(payload.Unavailable, "the vault's socket cannot be made: %w", reason(err))
	}
	return l.(*net.UnixListener), nil
}

// clear removes a socket that was left behind, and nothing else.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != os.ModeSocket {
		return payload.Errorf(payload.AlreadyExists, "where the vault's socket belongs is another file: move it away")
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return payload.Errorf(payload.Unavailable, "a socket that was left behind cannot be removed: %w", reason(err))
	}
	return nil
}

// restrict sets the mode that the socket's file will have: bind takes it from
// the socket, less the umask.
func restrict(_, _ string, socket syscall.RawConn) error {
	var err error
	controlErr := socket.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), mode) })
	return errors.Join(controlErr, err)
}

// dial connects. Code Unavailable when nobody listens.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixpacket", path)
	switch {
	case err == nil:
		return conn.(*net.UnixConn), nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, payload.Errorf(payload.Denied, "the vault's socket is another user's: run both as one")
	default:
		return nil, payload.Errorf(payload.Unavailable, "no vault answers: %w", reason(err))
	}
}
