package placement

import (
	"context"
	"time"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// retiringRetry is how long to wait before asking again for a placement whose
// last lease has not ended.
const retiringRetry = time.Second

// A Drain says what freeing came to, and what it waits for.
type Drain struct {
	Freed   int           // placements
	Bytes   int64         // in them
	Waiting int           // placements that leases hold
	Leases  int           // how many
	Within  time.Duration // until the last of them ends at the latest
}

// Reap does what is due for one payload on this host: it aborts an allocation
// that came to its deadline, expires a payload whose time is over, and frees
// every retiring placement that no lease holds. What is not due stays as it is,
// so that reaping twice is reaping once.
func (h *Host) Reap(ctx context.Context, id payload.ID) (Drain, error) {
	p, err := h.fetch(ctx, "", id)
	if err == nil {
		p, err = h.end(ctx, p)
	}
	if err != nil {
		return Drain{}, payload.Wrap("reap", id, err)
	}
	_, drain, err := h.free(ctx, p, h.mine)
	return drain, payload.Wrap("reap", id, err)
}

// end draws the consequences of time.
func (h *Host) end(ctx context.Context, p payload.Payload) (payload.Payload, error) {
	now := h.catalog.Now()
	var step func() (payload.Payload, error)
	switch {
	case p.State == payload.StateAllocated && !now.Before(p.CommitBy):
		step = func() (payload.Payload, error) { return h.catalog.Abort(ctx, changeOf(p)) }
	case p.State == payload.StateActive && p.ExpiredAt(now):
		step = func() (payload.Payload, error) { return h.catalog.Expire(ctx, p.ID) }
	default:
		return p, nil
	}
	after, err := h.change(p.ID, step)
	if payload.CodeOf(err) == payload.Conflict { // committed or extended in between
		return h.fetch(ctx, "", p.ID)
	}
	return after, err
}

// free frees the retiring placements that want selects and no lease holds. It
// is the only way by which the bytes of a placement that was ever ready go.
func (h *Host) free(ctx context.Context, p payload.Payload, want func(payload.Placement) bool) (payload.Payload, Drain, error) {
	var drain Drain
	for _, at := range p.Placements {
		if at.State != payload.Retiring || !want(at) {
			continue
		}
		if held := h.leases.Close(key(p.ID, at)); held.Leases > 0 {
			drain.wait(held)
			continue
		}
		after, err := h.remove(ctx, p.ID, at)
		if err != nil {
			return p, drain, err
		}
		p = after
		drain.Freed, drain.Bytes = drain.Freed+1, drain.Bytes+p.Size
	}
	return p, drain, nil
}

func (d *Drain) wait(held leases.Drain) {
	d.Waiting, d.Leases = d.Waiting+1, d.Leases+held.Leases
	d.Within = max(d.Within, held.Within)
}

// remove frees one closed placement, then forgets it. A crash between the two
// leaves a retiring placement without bytes, which the next Reap forgets.
func (h *Host) remove(ctx context.Context, id payload.ID, at payload.Placement) (payload.Payload, error) {
	tier, err := h.tiers.Tier(at.Tier)
	if err != nil {
		return payload.Payload{}, err
	}
	if err := tier.Remove(ctx, at.Location); err != nil {
		return payload.Payload{}, err
	}
	return h.change(id, func() (payload.Payload, error) {
		p, err := h.catalog.Gone(ctx, id, at)
		if err == nil {
			h.leases.Forget(key(id, at))
		}
		return p, err
	})
}

// freeNow frees what nobody reads and lies on this host, for a caller that
// doomed the payload. The shared tier is left to the lifecycle: no caller waits
// for a network. What fails here the lifecycle repeats.
func (h *Host) freeNow(ctx context.Context, p payload.Payload) payload.Payload {
	after, _, err := h.free(ctx, p, h.local)
	if err != nil {
		h.log.Warn("a doomed payload's bytes could not be freed at once; its lifecycle will try again", "payload", p.ID, "error", err)
		return p
	}
	return after
}
