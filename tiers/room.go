package tiers

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Room counts the bytes of a tier whose clients hold file descriptors: what
// is reserved, and what was removed while a client still had it open. The
// latter comes back when the client lets go, which the kernel tells by the
// client's lock: see [Hold]. Nobody reports it, so the Room looks, each time
// somebody asks for room and every so often while anything is held.
//
// Bytes are counted in whole pages, as they are used. Freeing a gigabyte takes
// the kernel a good part of a second; it happens on a goroutine of the Room.
type Room struct {
	capacity int64
	every    time.Duration

	mu      sync.Mutex
	used    int64
	held    []remnant // removed, and open at some client
	dead    []remnant // removed, and to be closed
	freeing bool      // a goroutine closes what is dead
	looking bool      // a goroutine looks at what is held
	freed   *sync.Cond
	stop    chan struct{}
	stopped bool
	done    sync.WaitGroup
}

// A remnant is removed bytes; file is the tier's hold on them, and free lets go
// of it.
type remnant struct {
	file *os.File
	size int64
	free func()
}

// NewRoom makes a Room of capacity bytes, or of no limit when that is 0, which
// looks for readers that let go at the interval.
func NewRoom(capacity int64, every time.Duration) *Room {
	r := &Room{capacity: capacity, every: every, stop: make(chan struct{})}
	r.freed = sync.NewCond(&r.mu)
	return r
}

// Take reserves size bytes, or says that the tier is full. Before it does, it
// waits for bytes that are being freed.
func (r *Room) Take(size int64) error {
	size = pages(size)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fits(size) {
		r.look()
	}
	for !r.fits(size) {
		if !r.freeing {
			return Full()
		}
		r.freed.Wait()
	}
	r.used += size
	return nil
}

// Adopt counts size bytes that are there already, whatever the capacity.
func (r *Room) Adopt(size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used += pages(size)
}

// Give returns size bytes that Take reserved and nobody used.
func (r *Room) Give(size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= pages(size)
}

// Leave takes over the tier's last hold on size bytes that were removed, and
// frees them once no client has them open. It does not wait.
func (r *Room) Leave(file *os.File, size int64) {
	// Closing a descriptor that wrote nothing has nothing to lose.
	r.LeaveWith(file, size, func() { _ = file.Close() })
}

// LeaveWith is Leave for a tier that lets go of the bytes in a way of its own:
// free is called once, on a goroutine of the Room, when no client has file open
// any more, or at Close. It closes file.
func (r *Room) LeaveWith(file *os.File, size int64, free func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = append(r.held, remnant{file, pages(size), free})
	r.look()
	if len(r.held) > 0 && !r.looking && !r.stopped {
		r.looking = true
		r.done.Go(r.watch)
	}
}

// Used is how many bytes are reserved, used, or held.
func (r *Room) Used() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look()
	return r.used
}

// Close lets go of what is held, and returns when everything is freed that
// this process kept alive.
func (r *Room) Close() {
	r.mu.Lock()
	if !r.stopped {
		r.stopped = true
		close(r.stop)
	}
	r.bury(r.held)
	r.held = nil
	r.mu.Unlock()
	r.done.Wait()
}

func (r *Room) fits(size int64) bool { return r.capacity == 0 || size <= r.capacity-r.used }

// look moves what no client has open any more from held to dead.
func (r *Room) look() {
	var still, gone []remnant
	for _, at := range r.held {
		if Held(at.file) {
			still = append(still, at)
		} else {
			gone = append(gone, at)
		}
	}
	r.held = still
	r.bury(gone)
}

func (r *Room) bury(gone []remnant) {
	r.dead = append(r.dead, gone...)
	if len(r.dead) > 0 && !r.freeing {
		r.freeing = true
		r.done.Go(r.free)
	}
}

func (r *Room) free() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.dead) > 0 {
		next := r.dead[0]
		r.dead = r.dead[1:]
		r.mu.Unlock()
		next.free()
		r.mu.Lock()
		r.used -= next.size
		r.freed.Broadcast()
	}
	r.freeing = false
	r.freed.Broadcast()
}

// watch looks at the interval, as long as anything is held.
func (r *Room) watch() {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		if !r.stillHeld() {
			return
		}
	}
}

func (r *Room) stillHeld() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look()
	r.looking = len(r.held) > 0
	return r.looking
}

func pages(size int64) int64 {
	const page = 4096
	return (size + page - 1) / page * page
}

// Hold puts a shared lock on a file description that is about to be handed to
// a client. It lasts until every duplicate of the description is closed and
// every mapping made from it is gone, in whatever process: by it the tier knows
// that the client let go. A client that drops the lock by itself harms nothing
// but the count.
func Hold(file *os.File) error {
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	return unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock)
}

// Held reports whether a description of the same file other than this one is
// under [Hold].
func Held(file *os.File) bool {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}
