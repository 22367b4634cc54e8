package leases

import (
	"container/list"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Key is one placement on this host. A placement that is filled anew has
// another Attempt, and so another Key.
type Key struct {
	ID      payload.ID
	Tier    payload.Tier
	Attempt uint64
}

// A Table is the leases of one host. Its methods may be called concurrently.
// None calls anybody back. Grant, Renew, Release and Lookup cost the same
// however many leases live, and make no system call, but that a Grant or Renew
// that finds the journal full waits for it to grow.
type Table struct {
	now     func() time.Duration
	nonce   string // of this table's lease ids: those of a table with another journal differ
	journal journal

	mu       sync.Mutex
	next     uint64 // the number in the last lease's id
	places   map[Key]*place
	leases   map[uint64]*lease
	requests map[request]*lease
	sessions map[string]*list.List // of *lease
	byAge    *list.List            // of *lease, the oldest first
	due      deadlines

	drained   []Key         // to be reported
	onDrained func(Key)     // may be nil
	wakeAt    time.Duration // what the watcher sleeps until
	nudge     chan struct{} // wakes the watcher before that
	stop      chan struct{}
	stopped   chan struct{}
	stopOnce  sync.Once
}

// A place is a Key's readers.
type place struct {
	key    Key
	held   int
	last   time.Duration // no lease on it ends later
	closed bool
}

type lease struct {
	number    uint64
	id        string
	at        *place
	asked     Ask
	since     time.Duration
	until     time.Duration
	index     int           // in Table.due
	age       *list.Element // in Table.byAge
	inSession *list.Element // in its session's list; nil without a session
}

type request struct{ session, id string }

// New makes an empty table that ends with its process, and starts its watcher,
// which Stop ends. The clock is [Boottime], except in tests.
func New(now func() time.Duration) *Table {
	t := newTable(now)
	t.adopt(newHeader(""))
	go t.watch()
	return t
}

func newTable(now func() time.Duration) *Table {
	return &Table{
		now:      now,
		journal:  journal{low: make(chan struct{}, 1), waste: make(chan struct{}, 1)},
		places:   map[Key]*place{},
		leases:   map[uint64]*lease{},
		requests: map[request]*lease{},
		sessions: map[string]*list.List{},
		byAge:    list.New(),
		wakeAt:   never,
		nudge:    make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
}

// Stop ends the watcher and waits for it. The table still answers afterwards,
// but reports no more drains. One with a journal lets it go: it grants and
// renews no more, and what it held is there when the journal is opened again.
func (t *Table) Stop() {
	t.stopOnce.Do(func() { close(t.stop) })
	<-t.stopped
	t.closeJournal()
}

// Open lets leases be granted on k. A key that was closed stays closed.
func (t *Table) Open(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.place(k)
}

// place returns k's readers, and knows of k from then on.
func (t *Table) place(k Key) *place {
	p, known := t.places[k]
	if !known {
		p = &place{key: k}
		t.places[k] = p
	}
	return p
}

// An Ask is a wish for a lease.
type Ask struct {
	Key     Key
	Holder  string // who reads, for people
	Session string // optional: the lease ends with it
	// Request makes the ask safe to repeat: while the lease lives, the same
	// request in the same session returns it again. Empty: not repeatable.
	Request  string
	Duration time.Duration // 0: payload.DefaultLease
}

// A Grant is one lease, as it was at the time of the call.
type Grant struct {
	ID        string
	Key       Key
	Holder    string
	Session   string
	Remaining time.Duration // positive
}

// Grant leases a placement. Codes: NotFound when it is not open; Conflict with
// reason RETIRES when it was closed, or REQUEST_REUSE when the request came
// before and asked for something else; Invalid for a duration out of bounds;
// Unavailable when the journal finds no room.
func (t *Table) Grant(ask Ask) (Grant, error) {
	duration, err := bounded(ask.Duration)
	if err != nil {
		return Grant{}, err
	}
	noRoom := t.lock(grantSize(ask))
	defer t.mu.Unlock()
	now := t.now()
	if l := t.repeated(ask, now); l != nil {
		return l.again(ask, now)
	}
	p, known := t.places[ask.Key]
	switch {
	case !known:
		return Grant{}, payload.Errorf(payload.NotFound, "there is no such placement here to lease")
	case p.closed:
		return Grant{}, retires()
	case noRoom != nil:
		return Grant{}, noRoom
	}
	t.next++
	l := &lease{number: t.next, id: t.name(t.next), asked: ask, since: now, until: now + duration}
	t.add(l, p)
	t.journal.write(func(b []byte) record { return recordGrant(b, l) })
	return l.grant(now), nil
}

// repeated returns the living lease that the ask already got, if any.
func (t *Table) repeated(ask Ask, now time.Duration) *lease {
	if ask.Request == "" {
		return nil
	}
	l := t.requests[ask.request()]
	if l == nil {
		return nil
	}
	if l.expired(now) {
		t.end(l)
		return nil
	}
	return l
}

// again answers a repeated ask. The placement may be another one by now: what
// counts is the payload that the caller asked for.
func (l *lease) again(ask Ask, now time.Duration) (Grant, error) {
	first := l.asked
	if ask.Key.ID != first.Key.ID || ask.Holder != first.Holder || ask.Duration != first.Duration {
		return Grant{}, payload.Errorf(payload.Conflict, "this request_id came before and asked for another lease: use a new one").Because(payload.RequestReuse)
	}
	return l.grant(now), nil
}

func (a Ask) request() request { return request{a.Session, a.Request} }

// add puts a lease, the youngest so far, into everything.
func (t *Table) add(l *lease, p *place) {
	l.at = p
	t.leases[l.number] = l
	l.age = t.byAge.PushBack(l)
	if name := l.asked.Session; name != "" {
		l.inSession = t.session(name).PushBack(l)
	}
	if l.asked.Request != "" {
		t.requests[l.asked.request()] = l
	}
	t.due.add(l)
	p.held++
	p.last = max(p.last, l.until)
	t.wakeBy(l.until)
	t.journal.weigh(grantSize(l.asked))
}

func (t *Table) session(name string) *list.List {
	s, known := t.sessions[name]
	if !known {
		s = list.New()
		t.sessions[name] = s
	}
	return s
}

// finish ends a lease before its time.
func (t *Table) finish(l *lease) {
	t.journal.write(func(b []byte) record { return recordEnd(b, l.number) })
	t.end(l)
}

// end takes a lease out of everything. Every lease comes here exactly once.
func (t *Table) end(l *lease) {
	delete(t.leases, l.number)
	t.due.remove(l)
	t.byAge.Remove(l.age)
	if name := l.asked.Session; name != "" {
		if s := t.sessions[name]; s.Remove(l.inSession) != nil && s.Len() == 0 {
			delete(t.sessions, name)
		}
	}
	if l.asked.Request != "" {
		delete(t.requests, l.asked.request())
	}
	t.journal.weigh(-grantSize(l.asked))
	l.at.held--
	if l.at.held == 0 {
		l.at.last = 0
		if l.at.closed && t.places[l.at.key] == l.at { // and not forgotten
			t.report(l.at.key)
		}
	}
}

// Renew lets a lease hold for d from now, or longer where it already does: it
// never shortens one. Codes: Expired when the lease is over, NotFound when
// this table never granted it, Conflict with reason RETIRES when its placement
// was closed, Invalid for a duration out of bounds, Unavailable when the
// journal finds no room.
func (t *Table) Renew(id string, d time.Duration) (Grant, error) {
	duration, err := bounded(d)
	if err != nil {
		return Grant{}, err
	}
	noRoom := t.lock(renewalSize)
	defer t.mu.Unlock()
	now := t.now()
	l, err := t.find(id, now)
	switch {
	case err != nil:
		return Grant{}, err
	case l.at.closed:
		return Grant{}, retires()
	case now+duration <= l.until:
		return l.grant(now), nil
	case noRoom != nil:
		return Grant{}, noRoom
	}
	l.until = now + duration
	l.at.last = max(l.at.last, l.until)
	t.due.moved(l)
	t.journal.write(func(b []byte) record { return recordRenewal(b, l) })
	return l.grant(now), nil
}

// Release ends a lease. Releasing what is not held does nothing.
func (t *Table) Release(id string) error {
	_ = t.lock(endSize) // it ends with or without a record
	defer t.mu.Unlock()
	number, _ := t.number(id)
	if l, held := t.leases[number]; held {
		t.finish(l)
	}
	return nil
}

// Lookup returns a lease that holds now. Codes: Expired when it is over,
// NotFound when this table never granted it.
func (t *Table) Lookup(id string) (Grant, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	l, err := t.find(id, now)
	if err != nil {
		return Grant{}, err
	}
	return l.grant(now), nil
}

func (t *Table) find(id string, now time.Duration) (*lease, error) {
	number, ours := t.number(id)
	l, held := t.leases[number]
	switch {
	case !ours:
		return nil, payload.Errorf(payload.NotFound, "this host has no such lease: acquire a new one")
	case !held || l.expired(now):
		return nil, payload.Errorf(payload.Expired, "the lease is over: acquire a new one")
	}
	return l, nil
}

// EndSession ends every lease of a session and counts those that still held.
// Leases granted to the session meanwhile may be left.
func (t *Table) EndSession(session string) (ended int) {
	for more := true; more; {
		var some int
		some, more = t.endSome(session)
		ended += some
	}
	return ended
}

func (t *Table) endSome(session string) (ended int, more bool) {
	_ = t.lock(breath * endSize) // they end with or without a record
	defer t.mu.Unlock()
	now := t.now()
	for range breath {
		s := t.sessions[session]
		if s == nil {
			return ended, false
		}
		l := s.Front().Value.(*lease)
		if !l.expired(now) {
			ended++
		}
		t.finish(l)
	}
	return ended, true
}

// name writes a lease's id: the table's nonce and a number.
func (t *Table) name(number uint64) string { return t.nonce + strconv.FormatUint(number, 36) }

// number is the inverse of name. Not ours is what this table never granted;
// its number is 0, which no lease has.
func (t *Table) number(id string) (number uint64, ours bool) {
	digits, found := strings.CutPrefix(id, t.nonce)
	number, err := strconv.ParseUint(digits, 36, 64)
	if !found || err != nil || number > t.next {
		return 0, false
	}
	return number, number > 0
}

func (l *lease) expired(now time.Duration) bool { return now >= l.until }

func (l *lease) grant(now time.Duration) Grant {
	return Grant{ID: l.id, Key: l.at.key, Holder: l.asked.Holder, Session: l.asked.Session, Remaining: l.until - now}
}

func bounded(d time.Duration) (time.Duration, error) {
	switch {
	case d == 0:
		return payload.DefaultLease, nil
	case d < 0 || d > payload.MaxLease:
		return 0, payload.Errorf(payload.Invalid, "a lease lasts more than 0 and at most %v: renew it to hold it longer", payload.MaxLease)
	}
	return d, nil
}

func retires() error {
	return payload.Errorf(payload.Conflict, "the placement retires: acquire again for another one").Because(payload.Retires)
}
