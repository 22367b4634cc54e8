package placement

import (
	"context"
	"errors"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Resolve says where the bytes are now: the best ready placement as seen from
// here, be it on another host. It promises nothing.
func (h *Host) Resolve(ctx context.Context, namespace string, id payload.ID) (payload.Descriptor, error) {
	d, err := h.resolve(ctx, namespace, id)
	return d, payload.Wrap("resolve", id, err)
}

func (h *Host) resolve(ctx context.Context, namespace string, id payload.ID) (payload.Descriptor, error) {
	p, err := h.readable(ctx, namespace, id)
	if err != nil {
		return payload.Descriptor{}, err
	}
	at, found := h.best(p)
	if !found {
		return h.elsewhere(p)
	}
	return h.describe(ctx, p, at, payload.DefaultLease)
}

// An AcquireRequest asks for a lease.
type AcquireRequest struct {
	Request   string // a repeat by the same session returns the same lease
	Namespace string
	ID        payload.ID
	MinTier   payload.Tier  // this or a faster one; empty: any
	Duration  time.Duration // 0: payload.DefaultLease
	Holder    string        // for people
	Session   string        // whose end ends the lease; may be empty
}

// Acquire leases the best ready placement that this host reaches. Codes:
// NotFound, Expired, Lost, WrongHost, Invalid, and Conflict with reason
// NOT_COMMITTED, or TOO_SLOW when nothing ready is in MinTier or a faster tier.
func (h *Host) Acquire(ctx context.Context, r AcquireRequest) (payload.Lease, error) {
	lease, err := h.acquire(ctx, r)
	return lease, payload.Wrap("acquire", r.ID, err)
}

func (h *Host) acquire(ctx context.Context, r AcquireRequest) (payload.Lease, error) {
	p, err := h.readable(ctx, r.Namespace, r.ID)
	if err != nil {
		return payload.Lease{}, err
	}
	lease, err := h.lease(ctx, p, r)
	if payload.ReasonOf(err) != payload.Retires && payload.CodeOf(err) != payload.NotFound {
		return lease, err
	}
	// The placement closed since the record was read: read once more.
	if p, err = h.fetch(ctx, r.Namespace, r.ID); err != nil {
		return payload.Lease{}, err
	}
	if err = h.mayRead(p); err != nil {
		return payload.Lease{}, err
	}
	return h.lease(ctx, p, r)
}

func (h *Host) lease(ctx context.Context, p payload.Payload, r AcquireRequest) (payload.Lease, error) {
	at, err := h.choose(p, r.MinTier)
	if err != nil {
		return payload.Lease{}, err
	}
	grant, err := h.leases.Grant(leases.Ask{
		Key: key(p.ID, at), Holder: r.Holder, Session: r.Session, Request: r.Request, Duration: r.Duration,
	})
	if err != nil {
		return payload.Lease{}, err
	}
	if at, err = h.granted(p, at, grant); err != nil {
		return payload.Lease{}, err
	}
	lease := payload.Lease{ID: grant.ID, Holder: grant.Holder, Remaining: grant.Remaining, Token: h.signer.read(grant.ID)}
	lease.Descriptor, err = h.describe(ctx, p, at, lease.Remaining)
	if err != nil {
		return payload.Lease{}, errors.Join(err, h.leases.Release(grant.ID))
	}
	return lease, nil
}

// granted is the placement that a grant is on: not the chosen one when the
// request was made before, of what was best then.
func (h *Host) granted(p payload.Payload, chosen payload.Placement, grant leases.Grant) (payload.Placement, error) {
	if grant.Key == key(p.ID, chosen) {
		return chosen, nil
	}
	at, found := p.At(grant.Key.Tier, h.name)
	if !found || at.Attempt != grant.Key.Attempt {
		return at, payload.Errorf(payload.Lost, "the leased bytes went with the process or the host that kept them: acquire again for another copy")
	}
	return at, nil
}

// choose picks the placement to lease.
func (h *Host) choose(p payload.Payload, least payload.Tier) (payload.Placement, error) {
	at, found := h.best(p)
	switch {
	case !found:
		_, err := h.elsewhere(p)
		return at, err
	case !at.Tier.AtLeast(least):
		return at, payload.Errorf(payload.Conflict, "the payload is ready in %s, slower than %s: promote it first", at.Tier, least).Because(payload.TooSlow)
	}
	return at, nil
}

// best is the fastest ready placement that this host reaches.
func (h *Host) best(p payload.Payload) (best payload.Placement, found bool) {
	for _, at := range p.Placements {
		if at.State == payload.Ready && h.mine(at) && (!found || at.Tier.AtLeast(best.Tier)) {
			best, found = at, true
		}
	}
	return best, found
}

// elsewhere says which host to ask instead.
func (h *Host) elsewhere(p payload.Payload) (payload.Descriptor, error) {
	for _, at := range p.Placements {
		if at.State == payload.Ready {
			return payload.Descriptor{}, &payload.Error{
				Code: payload.WrongHost, Host: at.Host,
				Err: payload.Errorf(payload.WrongHost, "the bytes are on host %s: ask its daemon, or promote the payload to this host", at.Host).Err,
			}
		}
	}
	return payload.Descriptor{}, catalog.Refuse(payload.StateLost)
}

// readable returns the record of a payload that may be read now. The record in
// memory never refuses by itself: what it refuses is looked up.
func (h *Host) readable(ctx context.Context, namespace string, id payload.ID) (payload.Payload, error) {
	p, known := h.records.get(id)
	if known && (namespace == "" || namespace == p.Namespace) && h.mayRead(p) == nil {
		return p, nil
	}
	p, err := h.fetch(ctx, namespace, id)
	if err != nil {
		return payload.Payload{}, err
	}
	return p, h.mayRead(p)
}

func (h *Host) mayRead(p payload.Payload) error {
	switch {
	case p.State != payload.StateActive:
		return catalog.Refuse(p.State)
	case p.ExpiredAt(h.catalog.Now()):
		return catalog.Refuse(payload.StateExpired)
	}
	return nil
}

// describe says how to reach a placement for the given time.
func (h *Host) describe(ctx context.Context, p payload.Payload, at payload.Placement, valid time.Duration) (payload.Descriptor, error) {
	d := payload.Descriptor{ID: p.ID, Version: p.Version, Tier: at.Tier, Host: at.Host, Size: p.Size, Checksum: p.Checksum}
	if !at.Tier.Shared() {
		return d, nil
	}
	var err error
	d.URL, d.URLExpires, err = h.presign(ctx, at, valid)
	return d, err
}

func (h *Host) presign(ctx context.Context, at payload.Placement, valid time.Duration) (string, time.Duration, error) {
	tier, err := h.tiers.Tier(at.Tier)
	if err != nil {
		return "", 0, err
	}
	remote, ok := tier.(tiers.Presigner)
	if !ok {
		return "", 0, payload.Errorf(payload.Unsupported, "tier %s is not reached by URL", at.Tier)
	}
	valid += urlMargin
	url, err := remote.PresignRead(ctx, at.Location, valid)
	return url, valid, err
}

// A Renewal is what a lease is worth after it was renewed.
type Renewal struct {
	Remaining  time.Duration
	URL        string // for object: a new one
	URLExpires time.Duration
}

// Renew lengthens the lease that token stands for to d from now; it never
// shortens it. Codes: Expired, Denied, and Conflict with reason RETIRES once
// the payload is doomed or its placement retires.
func (h *Host) Renew(ctx context.Context, token payload.Token, d time.Duration) (Renewal, error) {
	renewal, err := h.renew(ctx, token, d)
	return renewal, payload.Wrap("renew", payload.ID{}, err)
}

func (h *Host) renew(ctx context.Context, token payload.Token, d time.Duration) (Renewal, error) {
	id, err := h.signer.lease(token)
	if err != nil {
		return Renewal{}, err
	}
	if err := h.unexpired(ctx, id); err != nil {
		return Renewal{}, err
	}
	grant, err := h.leases.Renew(id, d)
	if err != nil {
		return Renewal{}, err
	}
	renewal := Renewal{Remaining: grant.Remaining}
	if grant.Key.Tier.Shared() {
		renewal.URL, renewal.URLExpires, err = h.represign(ctx, grant, renewal.Remaining)
	}
	return renewal, err
}

// unexpired refuses to renew a lease on a payload whose time to live is over,
// also before its lifecycle came to close it.
func (h *Host) unexpired(ctx context.Context, lease string) error {
	grant, err := h.leases.Lookup(lease)
	if err != nil {
		return err
	}
	_, err = h.readable(ctx, "", grant.Key.ID)
	return err
}

func (h *Host) represign(ctx context.Context, grant leases.Grant, valid time.Duration) (string, time.Duration, error) {
	p, _ := h.records.get(grant.Key.ID)
	at, found := p.At(grant.Key.Tier, h.name)
	if !found {
		return "", 0, payload.Errorf(payload.Conflict, "the placement is gone").Because(payload.Retires)
	}
	return h.presign(ctx, at, valid)
}

// Release ends the lease that token stands for. Releasing twice is releasing
// once. Its error has code Denied for a token that is not this host's.
func (h *Host) Release(_ context.Context, token payload.Token) error {
	id, err := h.signer.lease(token)
	if err == nil {
		err = h.leases.Release(id)
	}
	return payload.Wrap("release", payload.ID{}, err)
}
