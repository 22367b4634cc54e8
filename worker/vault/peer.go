package vault

import (
	"context"
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

func peer(conn *net.UnixConn) (credentials *unix.Ucred, err error) {
	err = control(conn, func(fd int) (err error) {
		credentials, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return nil, payload.Errorf(payload.Internal, "the vault's peer is unknown: %w", reason(err))
	}
	return credentials, nil
}

// sameUser refuses a peer that another user runs.
func sameUser(conn *net.UnixConn) error {
	credentials, err := peer(conn)
	if err != nil {
		return err
	}
	if int(credentials.Uid) != os.Geteuid() {
		return payload.Errorf(payload.Denied, "the vault and its daemon run as different users: run them as one")
	}
	return nil
}

func control(conn *net.UnixConn, do func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = do(int(fd)) })
	return errors.Join(err, inner)
}

// Pid is the number of the vault's process at path, for who measures it from
// outside. Code Unavailable when there is none.
func Pid(ctx context.Context, path string) (int, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	credentials, err := peer(conn)
	if err != nil {
		return 0, err
	}
	return int(credentials.Pid), nil
}

// End ends the vault at path and returns when it is gone, also when there was
// none: SIGTERM first, and SIGKILL when ctx ends. What it kept, and no daemon
// has open, is lost. The process is known by the kernel's word on the socket, so
// that it can be no other.
func End(ctx context.Context, path string) error { return Signal(ctx, path, unix.SIGTERM) }

// Signal is End with a first signal of choice.
func Signal(ctx context.Context, path string, first unix.Signal) error {
	process, err := processAt(ctx, path)
	if payload.CodeOf(err) == payload.Unavailable {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, first, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return payload.Errorf(payload.Internal, "the vault cannot be ended: %w", err)
	}
	if awaitEnd(ctx, process) == nil {
		return nil
	}
	_ = unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0) // of a process of ours, or of none
	return awaitEnd(context.WithoutCancel(ctx), process)
}

// processAt is a pidfd of who listens at path. Code Unavailable: nobody.
func processAt(ctx context.Context, path string) (fd int, err error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	if err := sameUser(conn); err != nil {
		return -1, err
	}
	err = control(conn, func(socket int) (err error) {
		fd, err = unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		return err
	})
	if err != nil {
		return -1, payload.Errorf(payload.Unsupported, "the kernel does not say who the vault is: %w", reason(err))
	}
	return fd, nil
}

// awaitEnd returns nil once the process of a pidfd has ended.
func awaitEnd(ctx context.Context, process int) error {
	wait := 100 // milliseconds: how late the end of ctx may be seen
	if ctx.Done() == nil {
		wait = -1 // for ever
	}
	for ctx.Err() == nil {
		events := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
		n, err := unix.Poll(events, wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return payload.Errorf(payload.Internal, "a process cannot be watched: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
	return ctx.Err()
}

// reason is the system's word for what went wrong, without the path.
func reason(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return errors.New("the system refused")
}
