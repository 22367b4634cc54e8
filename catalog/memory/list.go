package memory

import (
	"bytes"
	"context"
	"slices"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// List implements catalog.Store.
func (s *Store) List(ctx context.Context, q catalog.Query) ([]payload.Payload, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var page []payload.Payload
	for _, p := range s.payloads {
		if matches(p, q) {
			page = append(page, copied(p))
		}
	}
	slices.SortFunc(page, func(a, b payload.Payload) int { return compare(a.ID, b.ID) })
	return page[:min(len(page), q.Limit)], nil
}

func matches(p payload.Payload, q catalog.Query) bool {
	switch {
	case compare(p.ID, q.After) <= 0,
		q.Namespace != "" && p.Namespace != q.Namespace,
		len(q.States) > 0 && !slices.Contains(q.States, p.State),
		q.Group != "" && p.Group != q.Group,
		q.OpenOnly && !catalog.Open(p):
		return false
	}
	return isDue(p, q) && isPlaced(p, q)
}

func isDue(p payload.Payload, q catalog.Query) bool {
	at, ever := catalog.Due(p)
	return q.DueBy == nil || ever && !at.After(*q.DueBy)
}

// isPlaced reports whether one placement is in the tier and on the host that q
// asks for. The shared tier is on every host.
func isPlaced(p payload.Payload, q catalog.Query) bool {
	if q.Tier == "" && q.Host == "" {
		return true
	}
	return slices.ContainsFunc(p.Placements, func(at payload.Placement) bool {
		anyHost := q.Host == "" || q.Tier.Shared()
		return (q.Tier == "" || at.Tier == q.Tier) && (anyHost || at.Host == q.Host)
	})
}

func compare(a, b payload.ID) int { return bytes.Compare(a[:], b[:]) }
