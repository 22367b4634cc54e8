package sdk

import (
	"context"
	"iter"
	"time"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Record is a payload as a person wants to see it. Its placements hold no
// location: that is the daemon's own business.
type Record struct {
	payload.Payload
	Leases   []int  // held on each of Placements, as far as the daemon's host knows
	Workflow string // the id of its lifecycle in Temporal: its own or its group's
}

// A ChangeOption narrows a change of an existing payload.
type ChangeOption func(*change)

type change struct {
	version uint64
	wait    bool
}

// IfVersion refuses the change with Conflict when the payload has another
// version: somebody changed it since it was looked at.
func IfVersion(version uint64) ChangeOption { return func(c *change) { c.version = version } }

// UntilFreed makes Delete wait until no bytes are left, at most until the
// deadline of its context. Other changes have nothing to wait for.
func UntilFreed() ChangeOption { return func(c *change) { c.wait = true } }

func changed(options []ChangeOption) (c change) {
	for _, option := range options {
		option(&c)
	}
	return c
}

// Get returns the record of a payload, tombstones included.
func (c *Client) Get(ctx context.Context, id payload.ID) (Record, error) {
	answer, err := c.life.Get(ctx, &payloadv1.GetRequest{Namespace: c.namespace, Id: id.String()})
	if err != nil {
		return Record{}, err
	}
	return recordIn(answer.GetPayload())
}

// A Filter says which payloads a listing shows. Its zero value shows all that
// are not tombstones.
type Filter struct {
	States   []payload.State // one of these
	Tier     payload.Tier    // has a placement there
	Host     string          // has a placement there
	PageSize int             // records fetched at a time, at most 1000; 0 leaves it to the daemon
}

// List goes through the payloads that pass the filter, ordered by id, which is
// the order of their allocation on each host. It fetches a page when it is
// needed; what changes meanwhile may or may not be seen, but nothing comes
// twice. After an error there is nothing more.
func (c *Client) List(ctx context.Context, filter Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		request, err := c.listing(filter)
		for more := err == nil; more; more = request.GetPageToken() != "" {
			var answer *payloadv1.ListResponse
			if answer, err = c.life.List(ctx, request); err != nil {
				break
			}
			if !yieldPage(answer.GetPayloads(), yield) {
				return
			}
			request.PageToken = answer.GetNextPageToken()
		}
		if err != nil {
			yield(Record{}, payload.Wrap("list", payload.ID{}, err))
		}
	}
}

func (c *Client) listing(filter Filter) (*payloadv1.ListRequest, error) {
	tier, err := anyTier(filter.Tier)
	if err != nil {
		return nil, err
	}
	states, err := stateNumbers(filter.States)
	return &payloadv1.ListRequest{
		Namespace: c.namespace, States: states, Tier: tier, Host: filter.Host, PageSize: int32(filter.PageSize),
	}, err
}

// yieldPage reports whether the caller wants more.
func yieldPage(page []*payloadv1.Payload, yield func(Record, error) bool) bool {
	for _, p := range page {
		record, err := recordIn(p)
		if !yield(record, err) || err != nil {
			return false
		}
	}
	return true
}

// Delete stops new leases at once; the bytes are freed when the last reader is
// gone. Deleting what is being deleted is no error.
func (c *Client) Delete(ctx context.Context, id payload.ID, options ...ChangeOption) (payload.Payload, error) {
	how := changed(options)
	return payloadOf(c.life.Delete(ctx, &payloadv1.DeleteRequest{
		RequestId: newRequest(), Namespace: c.namespace, Id: id.String(), ExpectedVersion: how.version, Wait: how.wait,
	}))
}

// Extend sets how long the payload lives from now, shorter or longer than what
// was left; 0 means until it is deleted. It also returns when the payload would
// have expired, zero for never.
func (c *Client) Extend(ctx context.Context, id payload.ID, ttl time.Duration, options ...ChangeOption) (payload.Payload, time.Time, error) {
	answer, err := c.life.Extend(ctx, &payloadv1.ExtendRequest{
		RequestId: newRequest(), Namespace: c.namespace, Id: id.String(), ExpectedVersion: changed(options).version, Ttl: span(ttl),
	})
	p, err := payloadOf(answer, err)
	return p, instant(answer.GetPreviousExpiresAt()), err
}

// Promote copies the payload to a faster tier of this host and waits until it
// is readable there, at most until the deadline of ctx. Slower placements stay.
func (c *Client) Promote(ctx context.Context, id payload.ID, to payload.Tier, options ...ChangeOption) (payload.Payload, error) {
	tier, err := anyTier(to)
	if err != nil {
		return payload.Payload{}, payload.Wrap("promote", id, err)
	}
	return payloadOf(c.moves.Promote(ctx, &payloadv1.PromoteRequest{
		RequestId: newRequest(), Namespace: c.namespace, Id: id.String(), To: tier, ExpectedVersion: changed(options).version,
	}))
}

// Spill copies the payload to a slower tier and waits for that, at most until
// the deadline of ctx. Faster placements take no new leases from then on and
// are freed when their last reader is gone.
func (c *Client) Spill(ctx context.Context, id payload.ID, to payload.Tier, options ...ChangeOption) (payload.Payload, error) {
	tier, err := anyTier(to)
	if err != nil {
		return payload.Payload{}, payload.Wrap("spill", id, err)
	}
	return payloadOf(c.moves.Spill(ctx, &payloadv1.SpillRequest{
		RequestId: newRequest(), Namespace: c.namespace, Id: id.String(), To: tier, ExpectedVersion: changed(options).version,
	}))
}

// payloadOf reads the answer of a change.
func payloadOf(answer interface{ GetPayload() *payloadv1.Payload }, err error) (payload.Payload, error) {
	if err != nil {
		return payload.Payload{}, err
	}
	record, err := recordIn(answer.GetPayload())
	return record.Payload, err
}
