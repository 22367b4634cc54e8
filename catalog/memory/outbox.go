package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Pending implements catalog.Store.
func (s *Store) Pending(ctx context.Context, limit int) (catalog.Backlog, error) {
	if err := s.enter(ctx); err != nil {
		return catalog.Backlog{}, err
	}
	defer s.mu.Unlock()
	var entries []catalog.Entry
	for id, n := range s.outbox {
		entries = append(entries, catalog.Entry{Payload: copied(s.payloads[id]), Since: n.since, Seq: n.seq})
	}
	slices.SortFunc(entries, func(a, b catalog.Entry) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Seq, b.Seq))
	})
	return catalog.Backlog{Entries: entries[:min(len(entries), limit)], Total: len(entries)}, nil
}

// Settle implements catalog.Store.
func (s *Store) Settle(ctx context.Context, delivered []catalog.Entry, group string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, entry := range delivered {
		id := entry.Payload.ID
		if n, found := s.outbox[id]; !found || n.seq != entry.Seq {
			continue
		}
		delete(s.outbox, id)
		if p := s.payloads[id]; p.Group == "" {
			p.Group = group
			s.payloads[id] = p
		}
	}
	return nil
}

// Prune implements catalog.Store.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	tombstones := s.forgettable(before)
	tombstones = tombstones[:min(len(tombstones), limit)]
	for _, p := range tombstones {
		delete(s.payloads, p.ID)
	}
	return len(tombstones) + s.forgetAnswers(before, limit), nil
}

// forgettable returns the tombstones that ended before the instant, oldest
// first, without those whose end the outbox has yet to tell.
func (s *Store) forgettable(before time.Time) []payload.Payload {
	var tombstones []payload.Payload
	for id, p := range s.payloads {
		_, untold := s.outbox[id]
		if !catalog.Open(p) && p.EndedAt.Before(before) && !untold {
			tombstones = append(tombstones, p)
		}
	}
	slices.SortFunc(tombstones, func(a, b payload.Payload) int {
		return cmp.Or(a.EndedAt.Compare(b.EndedAt), compare(a.ID, b.ID))
	})
	return tombstones
}

func (s *Store) forgetAnswers(before time.Time, limit int) int {
	var old []request
	for asked, first := range s.answers {
		if first.at.Before(before) {
			old = append(old, asked)
		}
	}
	slices.SortFunc(old, func(a, b request) int {
		return cmp.Or(s.answers[a].at.Compare(s.answers[b].at), cmp.Compare(a.scope, b.scope), cmp.Compare(a.id, b.id))
	})
	old = old[:min(len(old), limit)]
	for _, asked := range old {
		delete(s.answers, asked)
	}
	return len(old)
}
