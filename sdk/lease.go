package sdk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A ReadOption says how a payload is read.
type ReadOption func(*reading)

type reading struct {
	least      payload.Tier
	wait       bool
	lease      time.Duration
	unverified bool
}

// MinTier asks for a placement in this tier or a faster one. Where there is
// none, the call fails with Conflict and reason TOO_SLOW; see Wait.
func MinTier(t payload.Tier) ReadOption { return func(r *reading) { r.least = t } }

// Wait has the payload promoted where no placement is fast enough, and waits
// for that, at most until the deadline of the call's context.
func Wait() ReadOption { return func(r *reading) { r.wait = true } }

// LeaseFor is how long a lease holds unless renewed: 30 s by default, at most
// ten minutes. It is how long the lease of a process that is stopped or cannot
// reach the daemon outlives its last renewal. A process that dies keeps it no
// longer, and where the daemon can see it die, milliseconds.
func LeaseFor(d time.Duration) ReadOption { return func(r *reading) { r.lease = d } }

// Unverified has a Reader's Bytes skip the comparison with the checksum.
func Unverified() ReadOption { return func(r *reading) { r.unverified = true } }

func readingOf(options []ReadOption) reading {
	r := reading{lease: payload.DefaultLease}
	for _, option := range options {
		option(&r)
	}
	return r
}

// Resolve says where the bytes are now, as seen from the daemon's host, and
// promises nothing.
func (c *Client) Resolve(ctx context.Context, id payload.ID) (payload.Descriptor, error) {
	answer, err := c.leases.Resolve(ctx, &payloadv1.ResolveRequest{Namespace: c.namespace, Id: id.String()})
	if err != nil {
		return payload.Descriptor{}, err
	}
	return descriptorIn(answer.GetBest())
}

// Acquire leases the best placement. The caller renews and releases the lease;
// Hold and Open do that by themselves.
func (c *Client) Acquire(ctx context.Context, id payload.ID, options ...ReadOption) (payload.Lease, error) {
	return c.acquire(ctx, id, readingOf(options))
}

func (c *Client) acquire(ctx context.Context, id payload.ID, how reading) (payload.Lease, error) {
	least, err := anyTier(how.least)
	if err != nil {
		return payload.Lease{}, payload.Wrap("acquire", id, err)
	}
	answer, err := c.leases.Acquire(ctx, &payloadv1.AcquireRequest{
		RequestId: newRequest(), Namespace: c.namespace, Id: id.String(),
		MinTier: least, Duration: span(how.lease), Wait: how.wait, Holder: c.holder,
	})
	if err != nil {
		return payload.Lease{}, err
	}
	return leaseIn(answer.GetLease())
}

// A Renewal is what a lease is worth after it was renewed.
type Renewal struct {
	Remaining  time.Duration
	URL        string // object only: replaces the descriptor's
	URLExpires time.Duration
}

// Renew makes a lease hold for d from now; it never shortens it. Codes: Expired
// when it is too late, Conflict with reason RETIRES when the placement is about
// to go: the lease then ends when it would have.
func (c *Client) Renew(ctx context.Context, token payload.Token, d time.Duration) (Renewal, error) {
	answer, err := c.leases.Renew(ctx, &payloadv1.RenewRequest{Token: token, Duration: span(d)})
	if err != nil {
		return Renewal{}, err
	}
	return Renewal{
		Remaining: answer.GetRemaining().AsDuration(),
		URL:       answer.GetUrl(), URLExpires: answer.GetUrlValidFor().AsDuration(),
	}, nil
}

// Release ends a lease. Releasing twice is releasing once.
func (c *Client) Release(ctx context.Context, token payload.Token) error {
	_, err := c.leases.Release(ctx, &payloadv1.ReleaseRequest{Token: token})
	return err
}

// program names this process, for people: "trainer[4711]".
func program() string { return fmt.Sprintf("%s[%d]", filepath.Base(os.Args[0]), os.Getpid()) }
