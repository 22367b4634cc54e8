package leases

import (
	"maps"
	"math"
	"slices"
	"time"
)

// A Drain is what a placement still waits for.
type Drain struct {
	Leases int
	// Within is when they are all over at the latest; 0 when there are none.
	Within time.Duration
}

// Close lets no more leases be granted or renewed on k, whether or not it was
// open, and says what is still held. Where that is nothing, no drain will be
// reported. Closing twice is closing once.
func (t *Table) Close(k Key) Drain {
	t.sweep()
	_ = t.lock(keyRecordSize(k)) // it closes with or without a record
	defer t.mu.Unlock()
	p := t.place(k)
	t.shut(p)
	return p.drain(t.now())
}

func (t *Table) shut(p *place) {
	if p.closed {
		return
	}
	p.closed = true
	t.journal.weigh(keyRecordSize(p.key))
	t.journal.write(func(b []byte) record { return recordKey(b, kindClose, p.key) })
}

// Held says what is held on k.
func (t *Table) Held(k Key) Drain {
	t.sweep()
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, known := t.places[k]; known {
		return p.drain(t.now())
	}
	return Drain{}
}

func (p *place) drain(now time.Duration) Drain {
	return Drain{Leases: p.held, Within: max(p.last-now, 0)}
}

// Forget drops k once its bytes are freed. Leases that are still held on it, as
// when the bytes were lost, run out unrenewed.
func (t *Table) Forget(k Key) {
	_ = t.lock(keyRecordSize(k)) // it is forgotten with or without a record
	defer t.mu.Unlock()
	p, known := t.places[k]
	if !known {
		return
	}
	delete(t.places, k)
	if p.closed {
		t.journal.weigh(-keyRecordSize(k))
	}
	if p.closed || p.held > 0 { // else the journal does not know of it
		t.journal.write(func(b []byte) record { return recordKey(b, kindForget, k) })
	}
	p.closed = true
}

// Keys lists what is open, closed or held, in no order. Its length is that of
// the table's places, not of its leases.
func (t *Table) Keys() []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.places))
}

// OnDrained has f called, by one goroutine of the table's and with no lock
// held, when the last lease on a closed key ended, however it ended. While f
// runs, later drains wait. Call it once: drains before that wait for it.
func (t *Table) OnDrained(f func(Key)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onDrained = f
	t.wake()
}

// A Summary counts a table's leases.
type Summary struct {
	Count  int
	Oldest time.Duration // how long the oldest has been held; 0 without any
}

// Summary counts the leases that hold now.
func (t *Table) Summary() Summary {
	t.sweep()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Summary{Count: len(t.leases)}
	if oldest := t.byAge.Front(); oldest != nil {
		s.Oldest = t.now() - oldest.Value.(*lease).since
	}
	return s
}

// breath is how many leases are ended in one hold of the lock: at some 0.3 µs
// each, other callers wait a third of a millisecond for it.
const breath = 1024

// never is later than any clock reads.
const never = time.Duration(math.MaxInt64)

// sweep ends what expired.
func (t *Table) sweep() {
	for t.sweepSome() {
	}
}

// sweepSome ends some of what expired, and reports whether more is left.
func (t *Table) sweepSome() (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for range breath {
		if len(t.due) == 0 || !t.due[0].expired(now) {
			return false
		}
		t.end(t.due[0])
	}
	return true
}

// report queues a drain for the watcher.
func (t *Table) report(k Key) {
	t.drained = append(t.drained, k)
	t.wake()
}

// wakeBy has the watcher awake at the deadline. It is woken only where it
// would sleep longer, so that a grant seldom costs a switch of goroutines.
func (t *Table) wakeBy(deadline time.Duration) {
	if deadline < t.wakeAt {
		t.wakeAt = deadline
		t.wake()
	}
}

func (t *Table) wake() {
	select {
	case t.nudge <- struct{}{}:
	default: // it is on its way
	}
}

// watch notices leases that ended without a call, and reports drains.
func (t *Table) watch() {
	defer close(t.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-t.nudge:
		case <-timer.C:
		}
		t.sweep()
		t.announce()
		timer.Reset(t.sleep())
	}
}

// announce calls back for every drain since the last time.
func (t *Table) announce() {
	t.mu.Lock()
	drained, tell := t.drained, t.onDrained
	if tell != nil {
		t.drained = nil
	}
	t.mu.Unlock()
	if tell == nil {
		return
	}
	for _, k := range drained {
		tell(k)
	}
}

// sleep notes how long the watcher will sleep: to the next deadline.
func (t *Table) sleep() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.due) == 0 {
		t.wakeAt = never
		return never
	}
	t.wakeAt = t.due[0].until
	return max(t.wakeAt-t.now(), 0)
}
