package placement

import (
	"context"
	"fmt"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// sourceRetry is how soon a copy is worth trying again whose source was freed.
const sourceRetry = 100 * time.Millisecond

// Copy makes a ready placement in a tier of this host, or in the shared one:
//
//	reserve the target → record that it fills → copy → verify → seal → switch
//
// Readers of the source are never blocked. A ready copy that is there already
// is the answer. Of concurrent calls for one target one copies and the others
// wait for it. A copy that failed, or was refused because the payload is
// doomed, leaves nothing behind. progress may be nil. Codes: Exhausted,
// Corrupt, WrongHost, Unavailable, and what a payload's state refuses with.
func (h *Host) Copy(ctx context.Context, id payload.ID, to payload.Tier, progress func(done, total int64)) (after payload.Payload, copied int64, err error) {
	type outcome struct {
		after  payload.Payload
		copied int64
	}
	shared := h.copies.DoChan(id.String()+string(to), func() (any, error) {
		after, copied, err := h.copy(ctx, id, to, progress)
		return outcome{after, copied}, err
	})
	select {
	case got := <-shared:
		o := got.Val.(outcome)
		return o.after, o.copied, payload.Wrap("copy", id, got.Err)
	case <-ctx.Done():
		return after, 0, payload.Wrap("copy", id, context.Cause(ctx))
	}
}

func (h *Host) copy(ctx context.Context, id payload.ID, to payload.Tier, progress func(done, total int64)) (payload.Payload, int64, error) {
	tier, err := h.tiers.Tier(to)
	if err != nil {
		return payload.Payload{}, 0, err
	}
	p, err := h.fetch(ctx, "", id)
	if err == nil {
		err = h.mayRead(p)
	}
	if err != nil {
		return payload.Payload{}, 0, err
	}
	target, there := p.At(to, h.name)
	switch {
	case there && target.State == payload.Ready:
		return p, 0, nil
	case there && target.State == payload.Retiring:
		return p, 0, payload.Errorf(payload.Busy, "the placement in %s waits for its last lease: try again when it is gone", to).Retry(retiringRetry)
	}
	if _, found := h.best(p); !found {
		_, err := h.elsewhere(p)
		return p, 0, err
	}
	return h.fill(ctx, tier, p, progress)
}

// fill carries one attempt at a copy out. The source is chosen after the target
// is reserved, which may take long, and read without a lease: it may be freed
// before it is opened, and then another copy of the payload is there to try.
func (h *Host) fill(ctx context.Context, tier tiers.Tier, p payload.Payload, progress func(done, total int64)) (payload.Payload, int64, error) {
	p, target, err := h.intend(ctx, tier, p)
	if err != nil {
		return p, 0, err
	}
	source, _ := h.best(p)
	sum, err := h.tiers.Copy(ctx, tiers.Copy{
		From: source.Tier, Source: source.Location, To: target.Tier, Target: target.Location, Size: p.Size, Want: p.Checksum,
	}, func(done int64) {
		if progress != nil {
			progress(done, p.Size)
		}
	})
	if payload.CodeOf(err) == payload.NotFound {
		err = payload.Errorf(payload.Unavailable, "the placement that was copied was given up meanwhile: try again").Retry(sourceRetry)
	}
	if err == nil {
		p, err = h.change(p.ID, func() (payload.Payload, error) { return h.catalog.Switch(ctx, p.ID, target, sum) })
	}
	if err != nil {
		return p, 0, h.undo(ctx, tier, p.ID, target, err)
	}
	return p, p.Size, nil
}

// intend reserves the target and records that it fills. An attempt that died
// with an earlier daemon is taken over.
func (h *Host) intend(ctx context.Context, tier tiers.Tier, p payload.Payload) (after payload.Payload, target payload.Placement, err error) {
	stale, hasStale := p.At(tier.Name(), h.name)
	target = h.here(tier.Name(), payload.Filling, h.nextAttempt(stale, p))
	if target.Location, err = tier.Create(ctx, p.ID, target.Attempt, p.Size); err != nil {
		return p, target, err
	}
	previous := &stale
	if !hasStale {
		previous = nil
	}
	after, err = h.change(p.ID, func() (payload.Payload, error) { return h.catalog.Fill(ctx, p.ID, target, previous) })
	if err != nil {
		h.giveBack(ctx, tier, target)
		return p, target, err
	}
	if hasStale {
		h.giveBack(ctx, tier, stale)
	}
	return after, target, nil
}

// nextAttempt is a number that no attempt at the placement had: also not one
// that failed and left no record, whose key an object store may still know. The
// clock, in microseconds, sees to that; should it step back, the number still
// rises above what is on record.
func (h *Host) nextAttempt(stale payload.Placement, p payload.Payload) uint64 {
	return max(stale.Attempt, p.Version, uint64(h.catalog.Now().UnixMicro())) + 1
}

// undo frees what a failed copy wrote, then forgets it. It goes on when its
// caller has gone. While the catalog cannot be reached the filling placement
// stays on record; the next attempt, or the next start, takes it over.
func (h *Host) undo(ctx context.Context, tier tiers.Tier, id payload.ID, target payload.Placement, cause error) error {
	ctx = context.WithoutCancel(ctx)
	h.giveBack(ctx, tier, target)
	_, err := h.change(id, func() (payload.Payload, error) { return h.catalog.Gone(ctx, id, target) })
	if err != nil {
		return fmt.Errorf("%w (and what it left could not be forgotten: %s)", cause, payload.CodeOf(err))
	}
	return cause
}

// Retire closes every placement that this host has in a tier faster than the
// named one, provided that a ready one is in that tier. They take no new leases
// and no renewals; Reap frees them after the last one.
func (h *Host) Retire(ctx context.Context, id payload.ID, fasterThan payload.Tier) (payload.Payload, error) {
	p, err := h.retire(ctx, id, fasterThan)
	return p, payload.Wrap("retire", id, err)
}

func (h *Host) retire(ctx context.Context, id payload.ID, fasterThan payload.Tier) (payload.Payload, error) {
	p, err := h.fetch(ctx, "", id)
	if err != nil {
		return payload.Payload{}, err
	}
	keep, found := p.At(fasterThan, h.name)
	if p.State != payload.StateActive || !found {
		return p, catalog.Refuse(p.State)
	}
	for _, at := range p.Placements {
		if !h.local(at) || at.State != payload.Ready || fasterThan.AtLeast(at.Tier) {
			continue
		}
		if p, err = h.change(id, func() (payload.Payload, error) { return h.catalog.Retire(ctx, id, at, keep) }); err != nil {
			return payload.Payload{}, err
		}
	}
	return p, nil
}
