package catalog

import (
	"slices"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Due says when the payload's lifecycle has to act next, and whether it ever
// has to. The zero time means at once. Stores keep the answer in an index, so
// that one query tells what a workflow, a group of payloads or the sweeper has
// to do.
//
//	bytes wait to be freed            at once
//	allocated                         at CommitBy
//	active with a time to live        at ExpiresAt
//	active without                    never
//	a tombstone                       never
func Due(p payload.Payload) (at time.Time, ever bool) {
	retiring := slices.ContainsFunc(p.Placements, func(at payload.Placement) bool { return at.State == payload.Retiring })
	switch {
	case retiring, p.State.Doomed():
		return time.Time{}, true
	case p.State == payload.StateAllocated:
		return p.CommitBy, true
	case p.State == payload.StateActive && !p.ExpiresAt.IsZero():
		return p.ExpiresAt, true
	default:
		return time.Time{}, false
	}
}

// Open reports whether the payload's lifecycle has anything left to do, now or
// later.
func Open(p payload.Payload) bool { return !p.State.Final() || len(p.Placements) > 0 }
