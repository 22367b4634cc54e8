package catalog

import (
	"cmp"
	"slices"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Step is one atomic change of one payload: all of If holds and all of Then
// is written, or nothing is.
type Step struct {
	Op      string // what the caller is doing, for errors
	ID      payload.ID
	If      If
	Then    Then
	Request Request   // optional: makes the step safe to repeat
	Now     time.Time // the instant of the step
	// Volatile says that a power cut may undo the step, because it takes what
	// the step tells of along. Stores may use it to answer sooner.
	Volatile bool
}

// If holds a step's conditions. Zero fields demand nothing.
type If struct {
	Absent    bool            // no payload has this id yet
	Namespace string          // else NotFound: foreign payloads look absent
	Version   uint64          // else Conflict, reason STALE_VERSION
	States    []payload.State // one of these, else what Refuse says
	DueBy     time.Time       // its ExpiresAt is set and not after this, else Conflict
	AliveAt   time.Time       // its time to live is not over at this instant, else Expired
	Placement *PlacementIf
	Source    *PlacementIf // a second placement that has to be there
}

// PlacementIf is a condition on the placement in one tier on one host.
type PlacementIf struct {
	Tier    payload.Tier
	Host    string
	Absent  bool                     // there is none
	States  []payload.PlacementState // one of these
	Attempt uint64                   // 0: any
}

// Then holds a step's writes. Zero fields leave things as they are.
type Then struct {
	Create    *payload.Payload // the record to begin with
	State     payload.State
	Checksum  payload.Checksum
	Verified  bool
	ActiveAt  time.Time
	ExpiresAt *time.Time         // a zero time means never
	Put       *payload.Placement // adds or replaces the placement in its tier and host
	Retire    bool               // every placement begins to retire
	Drop      *PlacementIf       // the placement in this tier and host is gone
	Wake      bool               // tell the payload's lifecycle: an outbox entry
}

// A Request makes a repeated step return its first answer. The same ID in the
// same Scope with another Digest is refused with Conflict, reason
// REQUEST_REUSE. An empty ID switches this off.
type Request struct {
	Scope  string
	ID     string
	Digest []byte
}

// Apply judges the step against the record before it, and returns the record
// after it. It is pure: stores call it between reading and writing.
func (s Step) Apply(before payload.Payload, found bool) (payload.Payload, error) {
	if err := s.judge(before, found); err != nil {
		return payload.Payload{}, payload.Wrap(s.Op, s.ID, err)
	}
	after := before
	if s.Then.Create != nil {
		after = *s.Then.Create
	}
	after.Placements = slices.Clone(after.Placements)
	s.Then.write(&after)
	settle(&after, s.Now)
	if found && changed(before, after) {
		after.Version = before.Version + 1
	}
	return after, nil
}

func (s Step) judge(p payload.Payload, found bool) error {
	c := s.If
	switch {
	case c.Absent && found:
		return payload.Errorf(payload.AlreadyExists, "a payload with this id exists")
	case c.Absent:
		return nil
	case !found, c.Namespace != "" && c.Namespace != p.Namespace:
		return payload.Errorf(payload.NotFound, "there is no such payload")
	case c.Version != 0 && c.Version != p.Version:
		return payload.Errorf(payload.Conflict, "the version is %d, not %d: look again, then decide", p.Version, c.Version).Because(payload.StaleVersion)
	case len(c.States) > 0 && !slices.Contains(c.States, p.State):
		return Refuse(p.State)
	case !c.DueBy.IsZero() && !p.ExpiredAt(c.DueBy):
		return payload.Errorf(payload.Conflict, "the payload has not expired")
	case !c.AliveAt.IsZero() && p.ExpiredAt(c.AliveAt):
		return Refuse(payload.StateExpired)
	}
	for _, placement := range []*PlacementIf{c.Placement, c.Source} {
		if err := placement.judge(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *PlacementIf) judge(p payload.Payload) error {
	if c == nil {
		return nil
	}
	at, found := p.At(c.Tier, c.Host)
	switch {
	case c.Absent && found:
		return payload.Errorf(payload.Conflict, "the payload has a %s placement in %s already", at.State, c.Tier)
	case c.Absent:
		return nil
	case !found:
		return payload.Errorf(payload.Conflict, "the payload has no placement in %s here", c.Tier)
	case len(c.States) > 0 && !slices.Contains(c.States, at.State):
		return payload.Errorf(payload.Conflict, "the placement in %s is %s", c.Tier, at.State)
	case c.Attempt != 0 && c.Attempt != at.Attempt:
		return payload.Errorf(payload.Conflict, "attempt %d was overtaken by attempt %d", c.Attempt, at.Attempt)
	}
	return nil
}

// Refuse says why a payload in this state cannot serve a request that wanted
// another: the one table of state to code.
func Refuse(state payload.State) error {
	switch state {
	case payload.StateAllocated:
		return payload.Errorf(payload.Conflict, "the payload is not committed yet").Because(payload.NotCommitted)
	case payload.StateActive:
		return payload.Errorf(payload.Conflict, "the payload is committed already")
	case payload.StateExpired:
		return payload.Errorf(payload.Expired, "the payload's time to live is over")
	case payload.StateLost:
		return payload.Errorf(payload.Lost, "every copy of the payload vanished")
	default:
		return payload.Errorf(payload.NotFound, "the payload is %s", state)
	}
}

func (t Then) write(p *payload.Payload) {
	if t.State != "" {
		p.State = t.State
	}
	if t.Checksum.Known() {
		p.Checksum = t.Checksum
	}
	p.Verified = p.Verified || t.Verified
	if !t.ActiveAt.IsZero() {
		p.ActiveAt = t.ActiveAt
	}
	if t.ExpiresAt != nil {
		p.ExpiresAt = *t.ExpiresAt
	}
	if t.Put != nil {
		drop(p, t.Put.Tier, t.Put.Host)
		p.Placements = append(p.Placements, *t.Put)
	}
	if t.Retire {
		for i := range p.Placements {
			p.Placements[i].State = payload.Retiring
		}
	}
	if t.Drop != nil {
		drop(p, t.Drop.Tier, t.Drop.Host)
	}
}

func drop(p *payload.Payload, tier payload.Tier, host string) {
	p.Placements = slices.DeleteFunc(p.Placements, func(at payload.Placement) bool {
		return at.Tier == tier && (at.Host == host || tier.Shared())
	})
}

// settle draws the conclusions that hold whatever the step was: a payload that
// waits for its bytes to be freed and has none left is deleted; an active one
// without a copy that is, or may become, readable is lost.
func settle(p *payload.Payload, now time.Time) {
	switch {
	case p.State.Doomed() && len(p.Placements) == 0:
		p.State = payload.StateDeleted
	case p.State == payload.StateActive && !hasReady(*p):
		p.State = payload.StateLost
		for i := range p.Placements {
			p.Placements[i].State = payload.Retiring
		}
	}
	if p.State.Final() && p.EndedAt.IsZero() {
		p.EndedAt = now
	}
	slices.SortFunc(p.Placements, func(a, b payload.Placement) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Host, b.Host))
	})
}

func hasReady(p payload.Payload) bool {
	return slices.ContainsFunc(p.Placements, func(at payload.Placement) bool { return at.State == payload.Ready })
}

// changed reports whether the state or the ready placements differ: what a
// version counts.
func changed(before, after payload.Payload) bool {
	return before.State != after.State || !slices.Equal(ready(before), ready(after))
}

func ready(p payload.Payload) []payload.Placement {
	return slices.DeleteFunc(slices.Clone(p.Placements), func(at payload.Placement) bool { return at.State != payload.Ready })
}
