package leases

import (
	"errors"
	"os"
	"slices"
	"time"
)

// # Compaction
//
// A journal is compacted from itself, not from the table: what was appended
// never changes, so that it is read without the table's mutex. The old file is
// whole until the new one has its name, and the new one is whole from before
// it has:
//
//  1. cut: where does the journal end now, and what time is it?
//  2. index the records up to there; write into a new file the grants that
//     still hold, each as it stands now, and the closed placements
//  3. copy what was appended meanwhile, as it is, until little is left
//  4. copy that under the mutex; from now on every record goes into both files
//  5. rename the new file over the old one
//  6. from now on records go into the new file alone
//
// A crash before 5 leaves the old file, which has every record; a crash after
// it the new one, which has them too. No call waits for a disk, and the longest
// hold of the mutex is the copying of 64 KiB.
const (
	StepSnapshot = "leases.compact.snapshot" // 2 is done
	StepBoth     = "leases.compact.both"     // 4 is done
	StepRenamed  = "leases.compact.renamed"  // 5 is done
	StepSwitched = "leases.compact.switched" // 6 is done
)

// residue is how much is copied under the mutex at most: some 20 µs.
const residue = 64 << 10

// compactRetry is how long to wait after a compaction failed, as on a full
// disk.
const compactRetry = time.Second

// keepSmall compacts the journal when too much of it is garbage. A compaction
// that fails leaves all as it was.
func (t *Table) keepSmall() {
	var notBefore time.Duration
	for {
		select {
		case <-t.stop:
			return
		case <-t.journal.waste:
		}
		if t.now() < notBefore || !t.isWasteful() {
			continue
		}
		if err := t.compact(); err != nil {
			notBefore = t.now() + compactRetry
		}
	}
}

func (t *Table) isWasteful() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.journal.wasteful()
}

func (t *Table) compact() error {
	t.journal.compacting.Lock()
	defer t.journal.compacting.Unlock()
	old, from, now := t.cut()
	ix, _ := scan(old, from)
	fresh, err := t.snapshot(old, ix, now)
	if err != nil {
		return err
	}
	t.step(StepSnapshot)
	if err := t.catchUp(fresh, old, from); err != nil {
		return errors.Join(err, t.discard(fresh))
	}
	t.step(StepBoth)
	if err := os.Rename(t.journal.fresh(), t.journal.Path); err != nil {
		return errors.Join(unnamed(err), t.discard(fresh))
	}
	t.step(StepRenamed)
	err = t.leave(old)
	t.step(StepSwitched)
	return err
}

func (t *Table) step(name string) {
	if t.journal.Step != nil {
		t.journal.Step(name)
	}
}

// cut says where the journal ends, and when that was: a lease that ran out by
// then cannot be renewed behind it.
func (t *Table) cut() (f *file, tail int, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f = t.journal.files[0]
	return f, f.tail, t.now()
}

// snapshot makes a file of what holds at now. The table does not know it yet,
// so that it needs no lock.
func (t *Table) snapshot(old *file, ix *index, now time.Duration) (*file, error) {
	h := old.header
	h.last = ix.last
	fresh, err := createFile(t.journal.fresh(), h)
	if err != nil {
		return nil, err
	}
	if err := t.fill(fresh, old, ix, now); err != nil {
		return nil, errors.Join(err, t.discard(fresh))
	}
	return fresh, nil
}

func (t *Table) fill(fresh, old *file, ix *index, now time.Duration) error {
	for _, number := range ix.living(now) {
		g := ix.grants[number]
		r := recordAt(old.data, g.at)
		_, _, k := r.body().claim()
		at := fresh.tail
		if err := t.copy(fresh, r); err != nil {
			return err
		}
		if ix.homeless(g, k) {
			g.flags |= flagHomeless
		}
		record(fresh.data[at:fresh.tail]).amend(g.until, g.flags)
	}
	for k := range ix.closed {
		if err := t.copy(fresh, recordKey(nil, kindClose, k)); err != nil {
			return err
		}
	}
	return nil
}

// copy appends to a file that the table does not know yet.
func (t *Table) copy(fresh *file, records []byte) error {
	if err := t.reserve(fresh, len(records)); err != nil {
		return err
	}
	fresh.append(records)
	return nil
}

func (t *Table) reserve(fresh *file, n int) (err error) {
	for err == nil && fresh.room() < n {
		fresh.size, err = fresh.extend(t.journal.Allocate)
	}
	return err
}

// catchUp copies what was appended to old from there on, until fresh has all
// of it and gets every later record too.
func (t *Table) catchUp(fresh, old *file, from int) error {
	for {
		if err := t.reserve(fresh, stride); err != nil {
			return err
		}
		to, joined := t.join(fresh, old, from)
		if joined {
			return nil
		}
		if err := t.copy(fresh, old.data[from:to]); err != nil {
			return err
		}
		from = to
	}
}

// join copies what is left, if it is little, and lets the table know the file.
func (t *Table) join(fresh, old *file, from int) (to int, joined bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old.tail-from > residue {
		return old.tail, false
	}
	room := fresh.room()
	fresh.append(old.data[from:old.tail])
	t.journal.files = append(t.journal.files, fresh)
	t.journal.full = nil
	t.journal.remind(fresh, room)
	return old.tail, true
}

// leave writes to a file no more and gives its mapping up.
func (t *Table) leave(f *file) error {
	t.journal.growing.Lock()
	defer t.journal.growing.Unlock()
	t.mu.Lock()
	t.journal.files = slices.DeleteFunc(t.journal.files, func(one *file) bool { return one == f })
	t.mu.Unlock()
	return f.close()
}

// discard removes a new file that did not become the journal.
func (t *Table) discard(fresh *file) error {
	return errors.Join(t.leave(fresh), unnamed(os.Remove(t.journal.fresh())))
}
