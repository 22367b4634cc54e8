package leases

import (
	"errors"
	"slices"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// noRoomRetry is how soon a full disk is worth asking again. Until then it is
// not asked: a file system may look long for room that it does not have.
const noRoomRetry = time.Second

// lock takes the mutex once the journal has room for n more bytes. Where it can
// have none the mutex is taken all the same, and the error, with code
// Unavailable, says why: to be returned by what must be on record, and to be
// dropped by what happens anyway.
func (t *Table) lock(n int) (noRoom error) {
	for {
		t.mu.Lock()
		if t.journal.fits(n) {
			return nil
		}
		t.mu.Unlock()
		if noRoom = t.grow(n); noRoom != nil {
			t.mu.Lock()
			return noRoom
		}
	}
}

// grow has every file set room aside for at least n more bytes. Of concurrent
// calls one grows and the others wait for it.
func (t *Table) grow(n int) error {
	t.journal.growing.Lock()
	defer t.journal.growing.Unlock()
	for {
		f, err := t.lacking(n)
		if f == nil || err != nil {
			return err
		}
		size, err := f.extend(t.journal.Allocate)
		if err = t.grown(f, size, err); err != nil {
			return err
		}
	}
}

// grown takes over what came of a file's growing.
func (t *Table) grown(f *file, size int, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.size = size
	t.journal.full = nil
	if err != nil {
		t.journal.full = payload.Errorf(payload.Unavailable, "the lease journal finds no room on its disk: free some, then try again: %w", err).Retry(noRoomRetry)
		t.journal.askAgain = t.now() + noRoomRetry
		t.journal.weigh(0) // a smaller file may find room
		return t.journal.full
	}
	return nil
}

// lacking finds a file that has no room for n bytes.
func (t *Table) lacking(n int) (*file, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.journal.closed {
		return nil, payload.Errorf(payload.Unavailable, "the daemon stops: try again when it is back").Retry(noRoomRetry)
	}
	i := slices.IndexFunc(t.journal.files, func(f *file) bool { return f.room() < n })
	switch {
	case i < 0:
		return nil, nil // also where the disk refused more than n
	case t.journal.full != nil && t.now() < t.journal.askAgain:
		return nil, t.journal.full
	}
	return t.journal.files[i], nil
}

// keepRoom lets the journal grow before its room is used up, so that a grant
// seldom waits for the disk.
func (t *Table) keepRoom() {
	for {
		select {
		case <-t.stop:
			return
		case <-t.journal.low:
			_ = t.grow(stride) // a grant that finds none tries again, and says so
		}
	}
}

// closeJournal ends the journal's workers and gives its files up. What is
// granted stays in them; nothing is granted or renewed from now on.
func (t *Table) closeJournal() {
	t.journal.workers.Wait()
	t.journal.growing.Lock()
	defer t.journal.growing.Unlock()
	t.mu.Lock()
	files := t.journal.files
	t.journal.closed = t.journal.closed || len(files) > 0
	t.journal.files = nil
	t.mu.Unlock()
	for _, f := range files {
		_ = errors.Join(f.cut(), f.close()) // what was appended is in the page cache already
	}
}
