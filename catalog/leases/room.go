package leases

import (
	"errors"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// noRoomRetry is how soon a full disk is worth asking again.
const noRoomRetry = time.Second

// errNoRoom says that a journal has to grow first; no caller of ours sees it.
var errNoRoom = errors.New("leases: the journal has to grow")

// roomy repeats what found no room after the journal has grown. It fails only
// when it cannot grow.
func (t *Table) roomy(n int, do func() (Grant, error)) (Grant, error) {
	for {
		g, err := do()
		if err != errNoRoom {
			return g, err
		}
		if err := t.grow(n); err != nil {
			return Grant{}, err
		}
	}
}

// grow has every file set room aside for at least n more bytes. Its error has
// code Unavailable. Of concurrent calls one grows and the others wait for it.
func (t *Table) grow(n int) error {
	t.journal.growing.Lock()
	defer t.journal.growing.Unlock()
	for {
		f, tail, err := t.lacking(n)
		if f == nil || err != nil {
			return err
		}
		size, err := f.extend(tail, n, t.journal.Allocate)
		t.grown(f, size, err != nil)
		if err != nil {
			return payload.Errorf(payload.Unavailable, "the lease journal finds no room on its disk: free some, then try again: %w", err).Retry(noRoomRetry)
		}
	}
}

func (t *Table) grown(f *file, size int, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.size = size
	t.journal.full = full
	t.journal.weigh(0) // a smaller journal may find room
}

// lacking finds a file that has no room for n bytes.
func (t *Table) lacking(n int) (f *file, tail int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.journal.closed {
		return nil, 0, payload.Errorf(payload.Unavailable, "the daemon stops: try again when it is back").Retry(noRoomRetry)
	}
	for _, f := range t.journal.files {
		if f.room() < n {
			return f, f.tail, nil
		}
	}
	return nil, 0, nil
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
