package door

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Mode lets the daemon's own user open the door, and nobody else.
const Mode = fs.FileMode(0o600)

// Listen makes the door's socket at path, with the mode from its first moment
// on. A socket that a killed daemon left behind is replaced; one that somebody
// answers at is not: AlreadyExists. The caller closes the listener, which
// removes the socket.
func Listen(ctx context.Context, path string, mode fs.FileMode) (*net.UnixListener, error) {
	l, err := listen(ctx, path, mode)
	return l, payload.Wrap("listen", payload.ID{}, err)
}

func listen(ctx context.Context, path string, mode fs.FileMode) (*net.UnixListener, error) {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, payload.Errorf(payload.Invalid, "the path of the data door's socket is too long: at most %d bytes", len(unix.RawSockaddrUnix{}.Path)-1)
	}
	if err := clear(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error { return restrict(socket, mode) }}
	l, err := config.Listen(ctx, "unixpacket", path)
	if err != nil {
		return nil, payload.Errorf(payload.Unavailable, "the data door's socket cannot be made: %w", reason(err))
	}
	return l.(*net.UnixListener), nil
}

// restrict sets the mode that the socket's file will have: on Linux bind takes
// it from the socket, less the umask.
func restrict(socket syscall.RawConn, mode fs.FileMode) error {
	var err error
	if controlErr := socket.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) }); controlErr != nil {
		return controlErr
	}
	return err
}

// clear removes a socket that nobody answers at.
func clear(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return payload.Errorf(payload.AlreadyExists, "where the data door's socket belongs is another file: move it away")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", path)
	if err == nil {
		conn.Close()
		return payload.Errorf(payload.AlreadyExists, "another daemon serves this data door: stop it, or choose another folder")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return payload.Errorf(payload.Unavailable, "the data door's socket cannot be looked at: %w", reason(err))
	}
	if err := os.Remove(path); err != nil {
		return payload.Errorf(payload.Unavailable, "a socket that was left behind cannot be removed: %w", reason(err))
	}
	return nil
}

// reason is the system's word for what went wrong, without the path.
func reason(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return errors.New("the system refused")
}
