package servers

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A port is a TCP port of 127.0.0.1 that is ours from reserve to release,
// whether or not the server is up: a socket of ours is bound to it with
// SO_REUSEADDR and never listens. The kernel then gives the port to nobody who
// asks for any port, yet lets the child, which names it, listen there.
type port struct {
	number int // 0 before reserve: any free one
	socket int
	held   bool
}

func (p *port) address() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }

// reserve takes all ports, or says which one somebody else has.
func reserve(ports []*port) error {
	for _, p := range ports {
		if err := p.reserve(); err != nil {
			return fmt.Errorf("port %d of 127.0.0.1: %w", p.number, err)
		}
	}
	return nil
}

func (p *port) reserve() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.socket, p.held = socket, true
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Port: p.number, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		return err
	}
	p.number = name.(*unix.SockaddrInet4).Port
	return nil
}

// release gives the ports back. Releasing twice does nothing.
func release(ports []*port) {
	for _, p := range ports {
		if p.held {
			_ = unix.Close(p.socket)
			p.held = false
		}
	}
}
