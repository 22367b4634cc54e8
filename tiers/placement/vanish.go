package placement

import (
	"context"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Vanished takes bytes off the record that one of this host's tiers lost while
// it was serving, as memory is lost with its keeper. Their leases end with them:
// there is nothing left to promise. What a reader has mapped stays readable for
// it. A payload without another placement is lost, or aborted if it was not
// committed. It may be repeated.
func (h *Host) Vanished(ctx context.Context, tier payload.Tier, lost []tiers.Found) error {
	for _, f := range lost {
		if err := h.vanish(ctx, tier, f); err != nil {
			return payload.Wrap("vanish", f.ID, err)
		}
	}
	return nil
}

func (h *Host) vanish(ctx context.Context, tier payload.Tier, lost tiers.Found) error {
	p, err := h.fetch(ctx, "", lost.ID)
	if payload.CodeOf(err) == payload.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	at, known := p.At(tier, h.name)
	if !known || at.Location != lost.Location {
		return nil // an attempt that was given up
	}
	h.leases.Close(key(p.ID, at))
	if _, err := h.settleOne(ctx, p, at, false); err != nil {
		return err
	}
	h.leases.Forget(key(p.ID, at))
	_, err = h.fetch(ctx, "", p.ID)
	return err
}
