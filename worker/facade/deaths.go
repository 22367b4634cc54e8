package facade

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// deaths awaits the end of processes by their pidfds, which become readable
// when the process has ended, whoever reaps it and whoever inherited its
// sockets. One goroutine serves any number of them: it sleeps in Go's own
// poller on an epoll descriptor that holds them all.
type deaths struct {
	epoll   *os.File
	raw     syscall.RawConn
	died    func(*peer) // called by that goroutine
	stopped chan struct{}

	mu    sync.Mutex
	next  uint64
	known map[uint64]*peer // by what epoll calls them
}

// awaitDeaths starts the goroutine, which Close ends.
func awaitDeaths(died func(*peer)) (*deaths, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os.File does not poll it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	d := &deaths{epoll: os.NewFile(uintptr(fd), "epoll"), died: died, stopped: make(chan struct{}), known: map[uint64]*peer{}}
	if d.raw, err = d.epoll.SyscallConn(); err != nil {
		_ = d.epoll.Close()
		return nil, err
	}
	go d.run()
	return d, nil
}

// Close ends the goroutine and waits for it. Peers are still released after it.
// Closing twice is closing once.
func (d *deaths) Close() error {
	err := d.epoll.Close()
	<-d.stopped
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// await has the peer's death reported, once. A peer without a pidfd never dies.
func (d *deaths) await(p *peer) {
	if d == nil || p.fd == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	key := d.next
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(key), Pad: int32(key >> 32)}
	err := d.raw.Control(func(epoll uintptr) {
		_ = d.control(int(epoll), unix.EPOLL_CTL_ADD, p.fd, &event)
	})
	if err == nil {
		p.key = key
		d.known[key] = p
	}
}

func (d *deaths) control(epoll, op int, file *os.File, event *unix.EpollEvent) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.EpollCtl(epoll, op, int(fd), event) })
	if err != nil {
		return err
	}
	return failed
}

// retain lets the peer be released once more before it is forgotten.
func (d *deaths) retain(p *peer) { p.uses.Add(1) }

// release closes the pidfd when nobody needs it any more.
func (d *deaths) release(p *peer) {
	if p.uses.Add(-1) > 0 || p.fd == nil {
		return
	}
	if d != nil {
		d.mu.Lock()
		delete(d.known, p.key)
		d.mu.Unlock()
	}
	_ = p.fd.Close() // which takes it out of epoll
}

func (d *deaths) run() {
	defer close(d.stopped)
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := d.raw.Read(func(epoll uintptr) bool {
			n, _ = unix.EpollWait(int(epoll), events, 0)
			return n > 0
		})
		if err != nil {
			return // closed
		}
		for _, event := range events[:n] {
			d.report(uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32)
		}
	}
}

// report tells of a death. A key is never used twice, so that a late event of a
// descriptor that was closed meanwhile means nobody else.
func (d *deaths) report(key uint64) {
	d.mu.Lock()
	p := d.known[key]
	delete(d.known, key)
	d.mu.Unlock()
	if p != nil {
		d.died(p)
	}
}
