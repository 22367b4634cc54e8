package placement

import (
	"context"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// sumAtOnce is the size up to which commit computes the checksum before it
// answers: reading 256 KiB takes about 40 µs at 6 GB/s, less than one fsync.
// Larger payloads are summed behind the answer.
const sumAtOnce = tiers.Small

// Commit seals the producer's bytes and makes the payload readable. Seal
// first, checksum after: sealed bytes cannot change between the two. Codes:
// Busy with reason STILL_MAPPED, Invalid when bytes are missing, Corrupt when
// they are not what sum says.
func (h *Host) Commit(ctx context.Context, c catalog.Change, sum payload.Checksum) (payload.Payload, error) {
	p, err := h.commit(ctx, c, sum)
	return p, payload.Wrap("commit", c.ID, err)
}

func (h *Host) commit(ctx context.Context, c catalog.Change, sum payload.Checksum) (payload.Payload, error) {
	p, err := h.look(ctx, c.Namespace, c.ID)
	if err != nil {
		return payload.Payload{}, err
	}
	at, verified := payload.Placement{}, false
	if p.State == payload.StateAllocated {
		if at, err = h.written(p); err != nil {
			return payload.Payload{}, err
		}
		if sum, verified, err = h.seal(ctx, p, at, sum); err != nil {
			return payload.Payload{}, err
		}
	}
	p, err = h.change(c.ID, func() (payload.Payload, error) {
		return h.catalog.Commit(ctx, c, at, p.Policy.TTL, sum, verified)
	})
	if err == nil && !p.Verified {
		h.verifyBehind(p, at)
	}
	return p, err
}

// written is the placement that the producer filled.
func (h *Host) written(p payload.Payload) (payload.Placement, error) {
	if at, here := p.At(p.Policy.Tier, h.name); here {
		return at, nil
	}
	elsewhere := payload.Errorf(payload.WrongHost, "the payload was allocated on another host: commit there")
	if len(p.Placements) > 0 {
		elsewhere.Host = p.Placements[0].Host
	}
	return payload.Placement{}, elsewhere
}

// seal makes the bytes immutable and, where that is quick, computes their
// checksum.
func (h *Host) seal(ctx context.Context, p payload.Payload, at payload.Placement, claimed payload.Checksum) (sum payload.Checksum, verified bool, err error) {
	tier, err := h.tiers.Tier(at.Tier)
	if err != nil {
		return claimed, false, err
	}
	if err := h.passing.wait(ctx, p.ID); err != nil {
		return claimed, false, err
	}
	if err := tier.Seal(ctx, at.Location); err != nil {
		return claimed, false, err
	}
	if p.Size > sumAtOnce || at.Tier.Shared() {
		return claimed, false, nil
	}
	sum, err = h.tiers.Sum(ctx, at.Tier, at.Location, p.Size)
	if err == nil && claimed.Known() && claimed != sum {
		err = payload.Errorf(payload.Corrupt, "the bytes are %s, not %s: abort, then write them again", sum, claimed)
	}
	return sum, true, err
}

// verifyBehind computes a committed payload's checksum without anybody waiting
// for it. Bytes that are not what their producer said are never served again.
func (h *Host) verifyBehind(p payload.Payload, at payload.Placement) {
	h.behind(func(ctx context.Context) {
		select {
		case h.verifying <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-h.verifying }()
		err := h.verify(ctx, p, at)
		if ended := payload.CodeOf(err) == payload.NotFound || payload.CodeOf(err) == payload.Expired; ended {
			return // nobody will read it any more
		}
		if err != nil && ctx.Err() == nil {
			h.log.Warn("a checksum could not be verified behind its commit; the first copy will verify it", "payload", p.ID, "error", err)
		}
	})
}

func (h *Host) verify(ctx context.Context, p payload.Payload, at payload.Placement) error {
	sum, err := h.tiers.Sum(ctx, at.Tier, at.Location, p.Size)
	if err != nil {
		return err
	}
	if p.Checksum.Known() && p.Checksum != sum {
		h.log.Error("a payload's bytes differ from its producer's checksum; it is lost", "payload", p.ID)
		_, err = h.change(p.ID, func() (payload.Payload, error) { return h.catalog.Condemn(ctx, p.ID) })
		return err
	}
	_, err = h.change(p.ID, func() (payload.Payload, error) { return h.catalog.Verify(ctx, p.ID, sum) })
	return err
}

// look returns a payload's record: from memory where this host serves it, else
// from the catalog.
func (h *Host) look(ctx context.Context, namespace string, id payload.ID) (payload.Payload, error) {
	p, known := h.records.get(id)
	if !known {
		return h.fetch(ctx, namespace, id)
	}
	if namespace != "" && namespace != p.Namespace {
		return payload.Payload{}, payload.Errorf(payload.NotFound, "there is no such payload")
	}
	return p, nil
}

// fetch reads the catalog's word on a payload and takes it over.
func (h *Host) fetch(ctx context.Context, namespace string, id payload.ID) (payload.Payload, error) {
	return h.change(id, func() (payload.Payload, error) { return h.catalog.Get(ctx, namespace, id) })
}
