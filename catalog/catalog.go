package catalog

import (
	"context"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Catalog holds the rules about payloads over a Store. Its methods may be
// called concurrently; each mutation is one Step, and durable when it returns.
type Catalog struct {
	store Store
	now   func() time.Time
}

// New returns a catalog over the store. now is the wall clock.
func New(store Store, now func() time.Time) *Catalog { return &Catalog{store: store, now: now} }

// Now is the instant by which the catalog judges.
func (c *Catalog) Now() time.Time { return c.now() }

// Get returns a payload's record, tombstones included. A payload of another
// namespace than the one given looks absent; an empty namespace sees all.
func (c *Catalog) Get(ctx context.Context, namespace string, id payload.ID) (payload.Payload, error) {
	p, err := c.store.Get(ctx, id)
	if err == nil && namespace != "" && namespace != p.Namespace {
		err = payload.Errorf(payload.NotFound, "there is no such payload")
	}
	if err != nil {
		return payload.Payload{}, payload.Wrap("get", id, err)
	}
	return p, nil
}

// List returns the payloads that match, ordered by id.
func (c *Catalog) List(ctx context.Context, q Query) ([]payload.Payload, error) {
	return c.store.List(ctx, q)
}

// Outlook sums up what a group's lifecycle has before it.
func (c *Catalog) Outlook(ctx context.Context, group string) (Outlook, error) {
	return c.store.Outlook(ctx, group)
}

// An Allocation is what a new payload begins with.
type Allocation struct {
	Request   Request
	ID        payload.ID
	Namespace string
	Name      string
	Size      int64
	Policy    payload.Policy
	Placement payload.Placement // filling
}

// Allocate records a payload whose room is reserved already. A repeated
// Request returns the first answer, whose id is another than a's: the caller
// then gives the room back. In a volatile tier the record may be lost with the
// room by a power cut: nothing was committed.
func (c *Catalog) Allocate(ctx context.Context, a Allocation) (payload.Payload, error) {
	now := c.now()
	return c.store.Do(ctx, Step{
		Op: "allocate", ID: a.ID, Now: now, Request: a.Request, Volatile: a.Placement.Tier.Volatile(),
		If: If{Absent: true},
		Then: Then{Wake: true, Create: &payload.Payload{
			ID: a.ID, Namespace: a.Namespace, Name: a.Name, Size: a.Size, Policy: a.Policy,
			State: payload.StateAllocated, Version: 1,
			CreatedAt: now, CommitBy: now.Add(a.Policy.CommitWithin),
			Placements: []payload.Placement{a.Placement},
		}},
	})
}

// Answered returns the answer that an earlier call with this request got. Its
// error has code NotFound when there was none.
func (c *Catalog) Answered(ctx context.Context, r Request) (payload.Payload, error) {
	return c.store.Do(ctx, Step{Op: "allocate", Request: r, Now: c.now()})
}

// A Change is what every mutation of an existing payload begins with.
type Change struct {
	Request   Request
	Namespace string // of the caller; empty: any
	ID        payload.ID
	Expected  uint64 // the version that the caller decided on; 0: any
}

func (c *Catalog) do(ctx context.Context, op string, change Change, when If, then Then) (payload.Payload, error) {
	when.Namespace, when.Version = change.Namespace, change.Expected
	return c.store.Do(ctx, Step{Op: op, ID: change.ID, If: when, Then: then, Request: change.Request, Now: c.now()})
}

// Commit makes an allocated payload active: its bytes at the placement are
// sealed. verified says that sum was computed from them. The time to live
// begins now.
func (c *Catalog) Commit(ctx context.Context, change Change, at payload.Placement, ttl time.Duration, sum payload.Checksum, verified bool) (payload.Payload, error) {
	now := c.now()
	then := Then{State: payload.StateActive, Checksum: sum, Verified: verified, ActiveAt: now, Wake: true}
	if ttl > 0 {
		expires := now.Add(ttl)
		then.ExpiresAt = &expires
	}
	filling := exactly(at, payload.Filling)
	at.State = payload.Ready
	then.Put = &at
	return c.do(ctx, "commit", change, If{States: allocated, Placement: filling}, then)
}

// Abort ends an allocation that was not committed; its placement begins to
// retire.
func (c *Catalog) Abort(ctx context.Context, change Change) (payload.Payload, error) {
	return c.do(ctx, "abort", change,
		If{States: allocated},
		Then{State: payload.StateAborted, Retire: true, Wake: true})
}

// Delete dooms a payload in whatever state; deleting twice is deleting once
// until its tombstone stands, and NotFound from then on.
func (c *Catalog) Delete(ctx context.Context, change Change) (payload.Payload, error) {
	return c.do(ctx, "delete", change,
		If{States: []payload.State{payload.StateAllocated, payload.StateActive, payload.StateExpired, payload.StateDeleting}},
		Then{State: payload.StateDeleting, Retire: true, Wake: true})
}

// Expire dooms an active payload whose time to live is over, and refuses with
// Conflict while it is not.
func (c *Catalog) Expire(ctx context.Context, id payload.ID) (payload.Payload, error) {
	return c.do(ctx, "expire", Change{ID: id},
		If{States: active, DueBy: c.now()},
		Then{State: payload.StateExpired, Retire: true})
}

// Extend lets an active payload live for ttl from now; 0 means for ever. Only
// an end that comes sooner wakes its lifecycle: a later one is found when the
// old one is due.
func (c *Catalog) Extend(ctx context.Context, change Change, ttl time.Duration) (after payload.Payload, previous time.Time, err error) {
	before, err := c.Get(ctx, change.Namespace, change.ID)
	if err != nil {
		return payload.Payload{}, time.Time{}, payload.Wrap("extend", change.ID, err)
	}
	var until time.Time
	if ttl > 0 {
		until = c.now().Add(ttl)
	}
	sooner := !until.IsZero() && (before.ExpiresAt.IsZero() || until.Before(before.ExpiresAt))
	after, err = c.do(ctx, "extend", change,
		If{States: active, AliveAt: c.now()},
		Then{ExpiresAt: &until, Wake: sooner})
	return after, before.ExpiresAt, err
}

// Admit judges a change that a later step will carry out, such as a move: the
// payload is active, alive and at the expected version. It changes nothing but
// remembers the request: a repeat is not judged again, and returns the record
// as it is by then.
func (c *Catalog) Admit(ctx context.Context, op string, change Change) (payload.Payload, error) {
	when := If{States: active, AliveAt: c.now()}
	if change.Request.ID != "" {
		if _, err := c.do(ctx, op, change, when, Then{}); err != nil {
			return payload.Payload{}, err
		}
		return c.Get(ctx, change.Namespace, change.ID)
	}
	p, err := c.Get(ctx, change.Namespace, change.ID)
	if err != nil {
		return payload.Payload{}, err
	}
	when.Version = change.Expected
	return Step{Op: op, ID: change.ID, If: when, Now: c.now()}.Apply(p, true)
}

// Verify records the checksum that was computed from sealed bytes.
func (c *Catalog) Verify(ctx context.Context, id payload.ID, sum payload.Checksum) (payload.Payload, error) {
	return c.do(ctx, "verify", Change{ID: id}, If{States: active}, Then{Checksum: sum, Verified: true})
}

// Condemn marks a payload lost whose only bytes are not what its producer said
// they were.
func (c *Catalog) Condemn(ctx context.Context, id payload.ID) (payload.Payload, error) {
	return c.do(ctx, "verify", Change{ID: id},
		If{States: active},
		Then{State: payload.StateLost, Retire: true, Wake: true})
}

// Fill records that a copy to the placement begins. Where an attempt that died
// left a filling placement behind, previous is it, and the new one takes over;
// else there must be none.
func (c *Catalog) Fill(ctx context.Context, id payload.ID, at payload.Placement, previous *payload.Placement) (payload.Payload, error) {
	target := &PlacementIf{Tier: at.Tier, Host: at.Host, Absent: true}
	if previous != nil {
		target = exactly(*previous, payload.Filling)
	}
	return c.do(ctx, "copy", Change{ID: id},
		If{States: active, AliveAt: c.now(), Placement: target},
		Then{Put: &at})
}

// Switch makes a filled placement ready: its bytes are sealed, durable as its
// tier is, and have this checksum. It is refused when another attempt took
// over or the payload is doomed.
func (c *Catalog) Switch(ctx context.Context, id payload.ID, at payload.Placement, sum payload.Checksum) (payload.Payload, error) {
	filling := exactly(at, payload.Filling)
	at.State = payload.Ready
	return c.do(ctx, "switch", Change{ID: id},
		If{States: active, Placement: filling},
		Then{Put: &at, Checksum: sum, Verified: true, Wake: true})
}

// Retire begins to give a ready placement up, as long as keep is ready: the
// last copy of a payload never retires.
func (c *Catalog) Retire(ctx context.Context, id payload.ID, at, keep payload.Placement) (payload.Payload, error) {
	when := If{States: active, Placement: exactly(at, payload.Ready), Source: exactly(keep, payload.Ready)}
	at.State = payload.Retiring
	return c.do(ctx, "retire", Change{ID: id}, when, Then{Put: &at, Wake: true})
}

// Gone records that a placement's bytes are freed, or vanished. What that
// makes of the payload follows from what is left: see Step.Apply. A placement
// that is gone already, or was taken over by a later attempt, stays as it is.
func (c *Catalog) Gone(ctx context.Context, id payload.ID, at payload.Placement) (payload.Payload, error) {
	p, err := c.do(ctx, "free", Change{ID: id},
		If{Placement: exactly(at)},
		Then{Drop: exactly(at)})
	if payload.CodeOf(err) == payload.Conflict {
		return c.Get(ctx, "", id)
	}
	return p, err
}

// Wake leaves an outbox entry for the payload.
func (c *Catalog) Wake(ctx context.Context, id payload.ID) error {
	_, err := c.do(ctx, "wake", Change{ID: id}, If{}, Then{Wake: true})
	return err
}

// Overdue returns payloads that were due longer than grace ago, at most limit:
// whoever carries them has lost sight of them.
func (c *Catalog) Overdue(ctx context.Context, grace time.Duration, limit int) ([]payload.Payload, error) {
	by := c.now().Add(-grace)
	return c.store.List(ctx, Query{DueBy: &by, OpenOnly: true, Limit: limit})
}

// Pending returns the outbox's oldest entries.
func (c *Catalog) Pending(ctx context.Context, limit int) (Backlog, error) {
	return c.store.Pending(ctx, limit)
}

// Settle removes delivered entries, and makes their payloads members of group
// where that is not empty.
func (c *Catalog) Settle(ctx context.Context, delivered []Entry, group string) error {
	return c.store.Settle(ctx, delivered, group)
}

// Announce records that a host is there.
func (c *Catalog) Announce(ctx context.Context, h Host) error {
	h.Seen = c.now()
	return c.store.PutHost(ctx, h)
}

// Hosts returns every host that was announced.
func (c *Catalog) Hosts(ctx context.Context) ([]Host, error) { return c.store.Hosts(ctx) }

// Prune forgets tombstones and answers older than retention.
func (c *Catalog) Prune(ctx context.Context, retention time.Duration, limit int) (int, error) {
	return c.store.Prune(ctx, c.now().Add(-retention), limit)
}

var (
	allocated = []payload.State{payload.StateAllocated}
	active    = []payload.State{payload.StateActive}
)

// exactly is the condition that this very attempt at a placement is there, in
// one of the states.
func exactly(at payload.Placement, states ...payload.PlacementState) *PlacementIf {
	return &PlacementIf{Tier: at.Tier, Host: at.Host, Attempt: at.Attempt, States: states}
}
