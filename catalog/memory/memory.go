// Package memory keeps the catalog's records in maps. It is the reference that
// catalogtest holds the other stores against, and what a test takes that needs
// a catalog and no disk.
//
// It leaves durability out: its records end with it. Everything else of the
// [catalog.Store] contract holds.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Store is a catalog.Store in this process's memory. One mutex guards all of
// it: a model should be plainly right before it is fast.
type Store struct {
	mu       sync.Mutex
	closed   bool
	payloads map[payload.ID]payload.Payload
	outbox   map[payload.ID]note
	written  uint64 // how many times any outbox entry was written
	answers  map[request]answer
	hosts    map[string]catalog.Host
}

var _ catalog.Store = (*Store)(nil)

type note struct {
	since time.Time
	seq   uint64
}

type request struct{ scope, id string }

type answer struct {
	digest  []byte
	payload payload.Payload
	at      time.Time
}

// New returns an empty store.
func New() *Store {
	return &Store{
		payloads: map[payload.ID]payload.Payload{},
		outbox:   map[payload.ID]note{},
		answers:  map[request]answer{},
		hosts:    map[string]catalog.Host{},
	}
}

// enter takes the mutex for one method, unless the caller is gone or the store
// is closed. The caller unlocks when it got nil.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return payload.Errorf(payload.Unavailable, "the catalog is shutting down").Retry(time.Second)
	}
	return nil
}

// Do implements catalog.Store.
func (s *Store) Do(ctx context.Context, step catalog.Step) (payload.Payload, error) {
	if err := s.enter(ctx); err != nil {
		return payload.Payload{}, err
	}
	defer s.mu.Unlock()
	asked := request{step.Request.Scope, step.Request.ID}
	if first, repeated := s.answers[asked]; repeated && asked.id != "" {
		return first.repeat(step)
	}
	before, found := s.payloads[step.ID]
	after, err := step.Apply(before, found)
	if err != nil {
		return payload.Payload{}, err
	}
	s.payloads[step.ID] = after
	if step.Then.Wake {
		s.wake(step)
	}
	if asked.id != "" {
		s.answers[asked] = answer{digest: slices.Clone(step.Request.Digest), payload: after, at: step.Now}
	}
	return copied(after), nil
}

func (a answer) repeat(step catalog.Step) (payload.Payload, error) {
	if !bytes.Equal(a.digest, step.Request.Digest) {
		err := payload.Errorf(payload.Conflict, "this request id came with another body before").Because(payload.RequestReuse)
		return payload.Payload{}, payload.Wrap(step.Op, step.ID, err)
	}
	return copied(a.payload), nil
}

func (s *Store) wake(step catalog.Step) {
	s.written++
	since := step.Now
	if pending, found := s.outbox[step.ID]; found && pending.since.Before(since) {
		since = pending.since
	}
	s.outbox[step.ID] = note{since: since, seq: s.written}
}

// copied is p without sharing what the store keeps.
func copied(p payload.Payload) payload.Payload {
	p.Placements = slices.Clone(p.Placements)
	return p
}

// Get implements catalog.Store.
func (s *Store) Get(ctx context.Context, id payload.ID) (payload.Payload, error) {
	if err := s.enter(ctx); err != nil {
		return payload.Payload{}, err
	}
	defer s.mu.Unlock()
	p, found := s.payloads[id]
	if !found {
		return payload.Payload{}, payload.Wrap("get", id, payload.Errorf(payload.NotFound, "there is no such payload"))
	}
	return copied(p), nil
}

// Outlook implements catalog.Store.
func (s *Store) Outlook(ctx context.Context, group string) (catalog.Outlook, error) {
	if err := s.enter(ctx); err != nil {
		return catalog.Outlook{}, err
	}
	defer s.mu.Unlock()
	var sum catalog.Outlook
	for _, p := range s.payloads {
		if p.Group != group || !catalog.Open(p) {
			continue
		}
		sum.Open++
		sum.Bytes += p.Size
		if at, ever := catalog.Due(p); ever && (!sum.Ever || at.Before(sum.Next)) {
			sum.Next, sum.Ever = at, true
		}
	}
	return sum, nil
}

// PutHost implements catalog.Store.
func (s *Store) PutHost(ctx context.Context, h catalog.Host) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.hosts[h.Name] = h
	return nil
}

// Hosts implements catalog.Store.
func (s *Store) Hosts(ctx context.Context) ([]catalog.Host, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	byName := func(a, b catalog.Host) int { return cmp.Compare(a.Name, b.Name) }
	return slices.SortedFunc(maps.Values(s.hosts), byName), nil
}

// Close implements catalog.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
