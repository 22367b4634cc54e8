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

// mode lets the daemon's own user open the door, and nobody else.
const mode = 0o600

// longestPath is what fits into a socket's address, less the final zero.
const longestPath = len(unix.RawSockaddrUnix{}.Path) - 1

// listen makes the socket, with its mode from its first moment on.
func listen(path string) (*net.UnixListener, error) {
	if len(path) > longestPath {
		return nil, payload.Errorf(payload.Invalid, "the path of the data door's socket is longer than %d bytes: choose a shorter folder", longestPath)
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: restrict}
	l, err := config.Listen(context.Background(), "unixpacket", path)
	if err != nil {
		return nil, payload.Errorf(payload.Unavailable, "the data door's socket cannot be made: %w", reason(err))
	}
	return l.(*net.UnixListener), nil
}

// restrict sets the mode that the socket's file will have: on Linux bind takes
// it from the socket, less the umask.
func restrict(_, _ string, socket syscall.RawConn) error {
	var err error
	controlErr := socket.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), mode) })
	return errors.Join(controlErr, err)
}

// clear removes a socket that nobody answers at.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return payload.Errorf(payload.AlreadyExists, "where the data door's socket belongs is another file: move it away")
	}
	conn, err := net.Dial("unixpacket", path)
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
