package placement

import (
	"sync"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// records is this host's copy of the catalog's word on the payloads that it
// serves. Reading it takes no lock that is ever held across I/O.
//
// A payload's entry is written only under its stripe, by whoever just changed
// it in the catalog, so that it can never go back in time.
type records struct {
	stripes [256]sync.Mutex

	mu      sync.RWMutex
	known   map[payload.ID]*payload.Payload // never changed once stored
	counts  map[payload.Tier]int64          // placements by tier
	waiting map[payload.ID]chan struct{}    // closed when the payload is forgotten
}

func (r *records) init() {
	r.known = map[payload.ID]*payload.Payload{}
	r.counts = map[payload.Tier]int64{}
	r.waiting = map[payload.ID]chan struct{}{}
}

// stripe is the lock under which a payload changes. Payloads share stripes:
// hold it for a catalog step, never while bytes move.
func (r *records) stripe(id payload.ID) *sync.Mutex {
	return &r.stripes[id[len(id)-1]] // the last byte of a UUIDv7 is random
}

func (r *records) get(id payload.ID) (payload.Payload, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.known[id]; p != nil {
		return *p, true
	}
	return payload.Payload{}, false
}

// put replaces a payload's entry, and forgets a payload that has nothing left
// to serve or free.
func (r *records) put(p payload.Payload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.known[p.ID]; old != nil {
		r.tally(*old, -1)
	}
	if p.State.Final() && len(p.Placements) == 0 {
		r.forget(p.ID)
		return
	}
	r.known[p.ID] = &p
	r.tally(p, +1)
}

func (r *records) forget(id payload.ID) {
	delete(r.known, id)
	if ended, anyone := r.waiting[id]; anyone {
		close(ended)
		delete(r.waiting, id)
	}
}

// ended is closed once the payload has nothing left to serve or free.
func (r *records) ended(id payload.ID) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.known[id]; !known {
		return closed
	}
	if r.waiting[id] == nil {
		r.waiting[id] = make(chan struct{})
	}
	return r.waiting[id]
}

func (r *records) tally(p payload.Payload, by int64) {
	for _, at := range p.Placements {
		r.counts[at.Tier] += by
	}
}

func (r *records) count(tier payload.Tier) int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.counts[tier]
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
