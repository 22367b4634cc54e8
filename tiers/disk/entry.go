package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// An entry is one payload's file.
type entry struct {
	label tiers.Label

	// mu is held for reading while a client's description is opened and locked,
	// so that neither Seal nor Remove comes between.
	mu      sync.RWMutex
	sealed  bool // the file is in place
	durable bool // this process saw the last step of Seal succeed
	spoiled bool // the disk failed to keep the bytes
	gone    bool
}

func fillingName(l tiers.Label) string { return path.Join(filling, l.String()) }

func sealedName(l tiers.Label) string {
	outer, inner := fan(l)
	return path.Join(sealed, outer, inner, l.String())
}

// fan names the two folders of a label: the id's last two bytes, which are
// random, while its first are the time.
func fan(l tiers.Label) (outer, inner string) {
	id := l.ID.String()
	return id[len(id)-2:], id[len(id)-4 : len(id)-2]
}

func (e *entry) name() string {
	if e.sealed {
		return sealedName(e.label)
	}
	return fillingName(e.label)
}

// Seal implements [tiers.Tier].
func (t *Tier) Seal(_ context.Context, location string) error {
	e, err := t.find(location)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.gone:
		return gone()
	case e.spoiled:
		return payload.Errorf(payload.Corrupt, "the disk did not keep these bytes: write them again, to a new attempt")
	case e.durable:
		return nil
	}
	if err := t.seal(e); err != nil {
		return tiers.Fault("seal on the disk", err)
	}
	e.durable = true
	return nil
}

// seal takes the steps that the package comment lists; its caller holds e.mu.
// Those before the rename are not repeated after it.
func (t *Tier) seal(e *entry) error {
	if !e.sealed {
		if err := t.freeze(e); err != nil {
			return err
		}
		if err := t.fanOut(e.label); err != nil {
			return err
		}
		if err := t.files.rename(fillingName(e.label), sealedName(e.label)); err != nil {
			return err
		}
		e.sealed = true
	}
	if err := t.files.syncFolder(path.Dir(sealedName(e.label))); err != nil {
		return err
	}
	return t.files.syncFolder(filling)
}

// freeze makes sure that nobody writes any more, and that what was written is
// on the disk. A kernel that failed to write pages back may say so only once,
// and forget them: after that the bytes are not to be trusted.
func (t *Tier) freeze(e *entry) error {
	file, err := t.files.open(fillingName(e.label), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := t.letGo(file); err != nil {
		return err
	}
	if err := whole(file, e.label.Size); err != nil {
		return err
	}
	err = t.files.sync(file)
	e.spoiled = err != nil
	return err
}

// letGo proves that no writer is left and takes away the mode to become one.
// While the lease stands, nobody can open the file to write.
func (t *Tier) letGo(file *os.File) error {
	// A child of ours that has not reached its exec yet would hold what we had
	// open, and look like a writer.
	syscall.ForkLock.RLock()
	_, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	syscall.ForkLock.RUnlock()
	if errors.Is(err, unix.EAGAIN) {
		return payload.Errorf(payload.Busy, "a writer still holds the payload open or mapped: let go of it, then commit").Because(payload.StillMapped)
	}
	if err != nil {
		t.noLeases.Do(func() {
			t.log.Warn("the disk tier's file system grants no leases: it cannot be proven that writers let go", "error", err)
		})
		return file.Chmod(0o400)
	}
	if err := file.Chmod(0o400); err != nil {
		return err
	}
	_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return err
}

// whole checks that the file has the length that was reserved: its writer could
// have cut or stretched it.
func whole(file *os.File, size int64) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != size {
		return payload.Errorf(payload.Invalid, "%d bytes arrived instead of %d", info.Size(), size)
	}
	return nil
}

// Remove implements [tiers.Tier].
func (t *Tier) Remove(_ context.Context, location string) error {
	e, err := t.find(location)
	if err != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return nil
	}
	if err := t.unlink(e); err != nil {
		return tiers.Fault("remove from the disk", err)
	}
	e.gone = true
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.entries, location)
	return nil
}

// unlink removes the file and leaves the last hold on its bytes to the room. A
// file that somebody else took away leaves nothing to hold.
func (t *Tier) unlink(e *entry) error {
	last, err := t.files.open(e.name(), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		t.room.Give(e.label.Size)
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.files.remove(e.name()); err != nil {
		last.Close()
		return err
	}
	t.room.Leave(last, e.label.Size)
	return nil
}

func (e *entry) readable(files files, flag int) (*os.File, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if !e.gone && !e.sealed {
		return nil, payload.Errorf(payload.Conflict, "the bytes are not sealed yet")
	}
	return e.open(files, os.O_RDONLY|flag)
}

func (e *entry) writable(files files, flag int) (*os.File, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.sealed {
		return nil, payload.Errorf(payload.Conflict, "the bytes are sealed already")
	}
	return e.open(files, os.O_RDWR|flag)
}

// open makes a description of the file, under a lock that tells how long its
// client keeps it.
func (e *entry) open(files files, flag int) (*os.File, error) {
	if e.gone {
		return nil, gone()
	}
	named, err := files.open(e.name(), flag)
	if err != nil {
		return nil, tiers.Fault("open on the disk", err)
	}
	defer named.Close()
	file, err := nameless(named)
	if err != nil {
		return nil, tiers.Fault("open on the disk", err)
	}
	if err := tiers.Hold(file); err != nil {
		file.Close()
		return nil, tiers.Fault("open on the disk", err)
	}
	return file, nil
}

// nameless returns the same description under a name that tells no path: a
// file's name stands in its errors.
func nameless(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "payload"), nil
}
