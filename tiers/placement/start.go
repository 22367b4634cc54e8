package placement

import (
	"context"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Start compares what the catalog says of this host with what its tiers hold,
// before anything is served. What is ready and there can be leased; what
// retires stays closed; a copy that died with an earlier daemon is freed; bytes
// that vanished, as those of ram do when their keeper ends, are taken off the
// record, which may make their payload aborted or lost. Bytes that no record
// knows are reported and left alone. Leases of an earlier daemon go on where
// their placement is ready, run out where it retires, and have nothing to read
// where it is gone; what they held back until now is freed once all is settled.
func (h *Host) Start(ctx context.Context) error {
	remembered := h.leases.Keys()
	found, err := h.inventory(ctx)
	if err != nil {
		return payload.Wrap("start", payload.ID{}, err)
	}
	err = h.each(ctx, func(p payload.Payload) error { return h.settle(ctx, p, found) })
	if err == nil {
		err = h.settleLeases(ctx, remembered)
	}
	if err != nil {
		return payload.Wrap("start", payload.ID{}, err)
	}
	h.leases.OnDrained(h.drain)
	if len(found) > 0 {
		h.log.Warn("this host's tiers hold bytes that no payload owns; they are left alone", "locations", len(found))
	}
	return nil
}

type place struct {
	tier     payload.Tier
	location string
}

// inventory lists what this host's own tiers hold.
func (h *Host) inventory(ctx context.Context) (map[place]bool, error) {
	found := map[place]bool{}
	for _, name := range payload.Tiers() {
		tier, err := h.tiers.Tier(name)
		if err != nil || name.Shared() {
			continue
		}
		if err := tier.Walk(ctx, func(f tiers.Found) error {
			found[place{name, f.Location}] = true
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// each visits every payload that has a placement on this host.
func (h *Host) each(ctx context.Context, visit func(payload.Payload) error) error {
	q := catalog.Query{Host: h.name, Limit: payload.MaxBatch}
	for {
		page, err := h.catalog.List(ctx, q)
		if err != nil {
			return err
		}
		for _, p := range page {
			if err := visit(p); err != nil {
				return err
			}
			q.After = p.ID
		}
		if len(page) < q.Limit {
			return nil
		}
	}
}

// settle brings one payload's record and this host's tiers into agreement, and
// crosses what it owns off the inventory.
func (h *Host) settle(ctx context.Context, p payload.Payload, found map[place]bool) (err error) {
	for _, at := range p.Placements {
		if !h.local(at) {
			continue // also a tier that is off now: its bytes are there when it is on again
		}
		here := place{at.Tier, at.Location}
		there := found[here]
		delete(found, here)
		if p, err = h.settleOne(ctx, p, at, there); err != nil {
			return err
		}
	}
	_, err = h.change(p.ID, func() (payload.Payload, error) { return p, nil })
	return err
}

func (h *Host) settleOne(ctx context.Context, p payload.Payload, at payload.Placement, there bool) (payload.Payload, error) {
	switch {
	case at.State == payload.Filling && p.State == payload.StateActive:
		return h.remove(ctx, p.ID, at)
	case at.State == payload.Filling && !there:
		if _, err := h.catalog.Abort(ctx, changeOf(p)); err != nil && payload.CodeOf(err) != payload.NotFound {
			return p, err
		}
		return h.catalog.Gone(ctx, p.ID, at)
	case !there:
		if at.State == payload.Ready {
			h.log.Warn("a placement's bytes are gone", "payload", p.ID, "tier", at.Tier)
		}
		return h.catalog.Gone(ctx, p.ID, at)
	default:
		return p, nil
	}
}

// settleLeases forgets what the lease table remembers of placements that the
// catalog does not have any more. The rest is settled when it gets here, but
// for the payloads that have nothing on this host outside the shared tier.
func (h *Host) settleLeases(ctx context.Context, remembered []leases.Key) error {
	for _, k := range remembered {
		p, err := h.look(ctx, "", k.ID)
		if err != nil && payload.CodeOf(err) != payload.NotFound {
			return err
		}
		if at, there := p.At(k.Tier, h.name); !there || at.Attempt != k.Attempt {
			h.leases.Forget(k)
		}
	}
	return nil
}

func changeOf(p payload.Payload) catalog.Change { return catalog.Change{ID: p.ID} }
