package ram

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// A segment is one payload's memory.
type segment struct {
	label tiers.Label

	// mu is held for reading while a client's description is opened and locked,
	// so that neither Seal nor Remove comes between.
	mu     sync.RWMutex
	file   *os.File // the tier's own description; nil until it is fetched, and once it is over
	sealed bool
	over   bool // removed, or lost
}

// reserve makes a memfd with all its pages, which can neither grow nor shrink.
func reserve(ctx context.Context, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, tiers.Fault("reserve memory", err)
	}
	file := os.NewFile(uintptr(fd), "payload")
	err = unix.Fchmod(fd, 0o600)
	if err == nil {
		err = allocate(ctx, fd, size)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
	}
	if err != nil {
		file.Close()
		return nil, tiers.Fault("reserve memory", err)
	}
	return file, nil
}

// allocate reserves pages in strides, so that a caller who gave up does not
// hold the kernel for the seconds that a huge payload takes.
func allocate(ctx context.Context, fd int, size int64) error {
	const stride = 256 << 20
	for offset := int64(0); offset < size; offset += stride {
		if err := tiers.Interrupted(ctx); err != nil {
			return err
		}
		if err := unix.Fallocate(fd, 0, offset, min(stride, size-offset)); err != nil {
			return err
		}
	}
	return nil
}

// seal makes the bytes immutable. EBUSY is the kernel's word for a writable
// mapping that lives; a writable descriptor alone does not hinder it, and is
// worth nothing afterwards.
func (s *segment) seal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return gone()
	}
	if s.sealed {
		return nil
	}
	_, err := unix.FcntlInt(s.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	if errors.Is(err, unix.EBUSY) {
		return payload.Errorf(payload.Busy, "a writer still maps the payload: unmap it, then commit").Because(payload.StillMapped)
	}
	if err == nil {
		err = s.file.Chmod(0o400)
	}
	if err == nil {
		err = s.mend()
	}
	if err == nil {
		_, err = unix.FcntlInt(s.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL)
	}
	if err != nil {
		return tiers.Fault("seal memory", err)
	}
	s.sealed = true
	return nil
}

// mend reserves again what the writer gave back by punching holes, which it can
// until the seal: whoever reads a hole needs a page at that moment, and meets
// SIGBUS if there is none.
func (s *segment) mend() error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(s.file.Fd()), &stat); err != nil {
		return err
	}
	const block = 512 // the unit of st_blocks, whatever st_blksize says
	if stat.Blocks*block >= s.label.Size {
		return nil
	}
	return unix.Fallocate(int(s.file.Fd()), 0, 0, s.label.Size)
}

// here reports whether nothing has to be fetched.
func (s *segment) here() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.file != nil || s.over
}

// fetch gets the descriptor from the keeper, unless it is here. The keeper may
// be nil when it is.
func (s *segment) fetch(ctx context.Context, keeper Keeper) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetchLocked(ctx, keeper)
}

func (s *segment) fetchLocked(ctx context.Context, keeper Keeper) (err error) {
	if s.file == nil && !s.over {
		s.file, err = keeper.Fetch(ctx, s.label.String())
	}
	return err
}

// keepAgain hands the segment to another keeper. It is not kept when there is
// nothing to hand over.
func (s *segment) keepAgain(ctx context.Context, keeper Keeper) (kept bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		s.over = true
		return false, nil
	}
	return true, keeper.Keep(ctx, s.label.String(), s.file)
}

// end takes the segment out of use, once the keeper knows, and returns the
// tier's hold on its bytes; nil if it has ended before.
func (s *segment) end(ctx context.Context, keeper Keeper) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fetchLocked(ctx, keeper); err != nil {
		return nil, err
	}
	if keeper != nil && !s.over {
		if err := keeper.Retire(ctx, s.label.String()); err != nil {
			return nil, err
		}
	}
	return s.dropLocked(), nil
}

// drop takes the segment out of use whatever the keeper has.
func (s *segment) drop() *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropLocked()
}

func (s *segment) dropLocked() *os.File {
	file := s.file
	s.file, s.over = nil, true
	return file
}

func (s *segment) readable() (*os.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.over && !s.sealed {
		return nil, payload.Errorf(payload.Conflict, "the bytes are not sealed yet")
	}
	return s.open(unix.O_RDONLY)
}

func (s *segment) writable() (*os.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.sealed {
		return nil, payload.Errorf(payload.Conflict, "the bytes are sealed already")
	}
	return s.open(unix.O_RDWR)
}

// open makes another description of the segment, under a lock that tells how
// long its client keeps it.
func (s *segment) open(flag int) (*os.File, error) {
	if s.file == nil {
		return nil, gone()
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()), flag|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, tiers.Fault("open memory", err)
	}
	file := os.NewFile(uintptr(fd), "payload")
	if err := tiers.Hold(file); err != nil {
		file.Close()
		return nil, tiers.Fault("open memory", err)
	}
	return file, nil
}

func (s *segment) found() tiers.Found {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return tiers.Found{Location: s.label.String(), ID: s.label.ID, Attempt: s.label.Attempt, Size: s.label.Size, Sealed: s.sealed}
}

func gone() error { return payload.Errorf(payload.NotFound, "the tier has no such location") }
