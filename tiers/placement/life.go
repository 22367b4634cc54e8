package placement

import (
	"context"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// An AllocateRequest asks for room.
type AllocateRequest struct {
	Request   catalog.Request
	Namespace string
	Name      string
	Size      int64 // bytes
	Policy    payload.Policy
	Session   string // whose end aborts what is not committed by then; may be empty
}

// An Allocation is room, and how its producer reaches it: by a token at the
// data door for ram and disk, by upload URLs for object.
type Allocation struct {
	Payload payload.Payload
	Token   payload.Token
	Parts   []tiers.Part
}

// Allocate reserves room in the policy's tier, then records the payload. Codes:
// Exhausted with reason TIER_FULL, Unsupported with reason TIER_OFF, Conflict
// with reason REQUEST_REUSE.
func (h *Host) Allocate(ctx context.Context, r AllocateRequest) (Allocation, error) {
	allocation, err := h.allocate(ctx, r)
	return allocation, payload.Wrap("allocate", payload.ID{}, err)
}

func (h *Host) allocate(ctx context.Context, r AllocateRequest) (Allocation, error) {
	policy := r.Policy.WithDefaults()
	tier, err := h.tiers.Tier(policy.Tier)
	if err != nil {
		return Allocation{}, err
	}
	id, err := payload.NewID()
	if err != nil {
		return Allocation{}, err
	}
	at := h.here(policy.Tier, payload.Filling, 1)
	if at.Location, err = tier.Create(ctx, id, at.Attempt, r.Size); err != nil {
		return h.answered(ctx, r, err)
	}
	p, err := h.record(ctx, catalog.Allocation{
		Request: r.Request, ID: id, Namespace: r.Namespace, Name: r.Name, Size: r.Size, Policy: policy, Placement: at,
	})
	if err != nil || p.ID != id {
		h.giveBack(ctx, tier, at)
	}
	if err != nil {
		return Allocation{}, err
	}
	h.own(r.Session, p.ID)
	return h.invite(ctx, p)
}

func (h *Host) record(ctx context.Context, a catalog.Allocation) (payload.Payload, error) {
	p, err := h.catalog.Allocate(ctx, a)
	if err == nil && p.ID == a.ID {
		h.records.put(p) // nobody else can know the id yet: no stripe needed
	}
	return p, err
}

// answered looks for the first answer to a repeated request that now finds the
// tier full, or off the net; full is what it says when there was none.
func (h *Host) answered(ctx context.Context, r AllocateRequest, full error) (Allocation, error) {
	if r.Request.ID == "" {
		return Allocation{}, full
	}
	p, err := h.catalog.Answered(ctx, r.Request)
	switch payload.CodeOf(err) {
	case "":
		h.own(r.Session, p.ID)
		return h.invite(ctx, p)
	case payload.NotFound:
		return Allocation{}, full
	default:
		return Allocation{}, err
	}
}

// invite says how the producer writes.
func (h *Host) invite(ctx context.Context, p payload.Payload) (Allocation, error) {
	at := p.Placements[0]
	tier, err := h.tiers.Tier(at.Tier)
	if err != nil {
		return Allocation{}, err
	}
	remote, isRemote := tier.(tiers.Presigner)
	if !isRemote {
		return Allocation{Payload: p, Token: h.signer.write(p.ID, at.Attempt)}, nil
	}
	parts, err := remote.PresignParts(ctx, at.Location, p.Size, p.Policy.CommitWithin)
	return Allocation{Payload: p, Parts: parts}, err
}

// giveBack frees room that the catalog knows nothing of. It goes on when its
// caller has gone: else the room would leak.
func (h *Host) giveBack(ctx context.Context, tier tiers.Tier, at payload.Placement) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	if err := tier.Remove(ctx, at.Location); err != nil {
		h.log.Warn("room that was reserved for nothing could not be freed", "tier", at.Tier, "error", err)
	}
}

// giveBackWithin bounds one try at freeing an object store's room.
const giveBackWithin = 10 * time.Second

// change runs one catalog step of a payload under its stripe, keeps the record
// in step with it, and closes in the lease table what retires.
func (h *Host) change(id payload.ID, step func() (payload.Payload, error)) (payload.Payload, error) {
	stripe := h.records.stripe(id)
	stripe.Lock()
	defer stripe.Unlock()
	p, err := step()
	if err != nil {
		return payload.Payload{}, err
	}
	h.adopt(p)
	return p, nil
}

// adopt takes over a record that the catalog just gave, under its stripe: what
// is ready can be leased from now on, what retires cannot.
func (h *Host) adopt(p payload.Payload) {
	for _, at := range p.Placements {
		switch {
		case !h.mine(at):
		case at.State == payload.Ready:
			h.leases.Open(key(p.ID, at))
		case at.State == payload.Retiring:
			h.leases.Close(key(p.ID, at))
		}
	}
	if p.State != payload.StateAllocated {
		h.owned.release(p.ID)
	}
	h.records.put(p)
}

// Abort gives an allocation back. Aborting twice is aborting once.
func (h *Host) Abort(ctx context.Context, c catalog.Change) (payload.Payload, error) {
	p, err := h.change(c.ID, func() (payload.Payload, error) { return h.catalog.Abort(ctx, c) })
	if err != nil {
		return payload.Payload{}, payload.Wrap("abort", c.ID, err)
	}
	return h.freeNow(ctx, p), nil
}

// Delete stops new leases and renewals at once. What nobody reads and lies on
// this host is freed before it returns, the rest by the payload's lifecycle.
func (h *Host) Delete(ctx context.Context, c catalog.Change) (payload.Payload, error) {
	p, err := h.change(c.ID, func() (payload.Payload, error) { return h.catalog.Delete(ctx, c) })
	if err != nil {
		return payload.Payload{}, payload.Wrap("delete", c.ID, err)
	}
	return h.freeNow(ctx, p), nil
}

// Extend lets the payload live for ttl from now; 0 means for ever.
func (h *Host) Extend(ctx context.Context, c catalog.Change, ttl time.Duration) (after payload.Payload, previous time.Time, err error) {
	after, err = h.change(c.ID, func() (p payload.Payload, err error) {
		p, previous, err = h.catalog.Extend(ctx, c, ttl)
		return p, err
	})
	return after, previous, payload.Wrap("extend", c.ID, err)
}

// awaitRound bounds how long a change made by another host stays unseen by a
// waiter.
const awaitRound = time.Second

// AwaitEnd waits until no bytes of the payload are left.
func (h *Host) AwaitEnd(ctx context.Context, namespace string, id payload.ID) (payload.Payload, error) {
	round := time.NewTicker(awaitRound)
	defer round.Stop()
	for {
		ended := h.records.ended(id)
		p, err := h.catalog.Get(ctx, namespace, id)
		if err != nil || !catalog.Open(p) {
			return p, err
		}
		select {
		case <-ended:
		case <-round.C:
		case <-ctx.Done():
			return p, payload.Wrap("delete", id, ctx.Err())
		}
	}
}
