package facade_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A refusal is a request that has to be refused, and how. Methods are named as
// on the wire, so that the table can be held against the services.
type refusal struct {
	method string
	why    string
	ask    func(ctx context.Context) error
	code   codes.Code
	reason string
	field  string
}

// props are the payloads that bad requests are about.
type props struct {
	allocated, active, committable, deleted, expired, foreign, unknown string
	stale                                                              uint64
	lease, ended                                                       []byte
	page                                                               string
}

func newProps(r *rig) props {
	p := props{
		allocated:   r.allocate(&payloadv1.AllocateRequest{Size: 8}).GetPayload().GetId(),
		committable: r.allocate(&payloadv1.AllocateRequest{Size: 8, RequestId: "allocate-1"}).GetPayload().GetId(),
		foreign:     r.put(content(8), &payloadv1.AllocateRequest{Namespace: "team-b"}).GetId(),
		deleted:     r.put(content(8), &payloadv1.AllocateRequest{}).GetId(),
		expired:     r.put(content(8), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Ttl: durationpb.New(time.Minute)}}).GetId(),
	}
	active := r.put(content(8), &payloadv1.AllocateRequest{})
	p.active, p.stale = active.GetId(), active.GetVersion()+7
	unknown, err := payload.NewID()
	require.NoError(r.t, err)
	p.unknown = unknown.String()
	r.delete(p.deleted)
	r.pass(2 * time.Minute)
	p.lease = r.acquire(&payloadv1.AcquireRequest{Id: p.active, RequestId: "acquire-1"}).GetToken()
	p.ended = r.acquire(&payloadv1.AcquireRequest{Id: p.active}).GetToken()
	_, err = r.lease.Release(r.t.Context(), &payloadv1.ReleaseRequest{Token: p.ended})
	require.NoError(r.t, err)
	page, err := r.life.List(r.t.Context(), &payloadv1.ListRequest{PageSize: 1})
	require.NoError(r.t, err)
	p.page = page.GetNextPageToken()
	return p
}

var (
	tooLong   = strings.Repeat("x", 300)
	negative  = durationpb.New(-time.Second)
	endless   = durationpb.New(11 * 366 * 24 * time.Hour)
	malformed = &durationpb.Duration{Seconds: 1, Nanos: -1}
	huge      = &durationpb.Duration{Seconds: math.MaxInt64}
)

func TestEveryBadRequestIsRefusedWithItsReason(t *testing.T) {
	r := newRig(t)
	p := newProps(r)
	table := refusals(r, p)
	for _, row := range table {
		t.Run(row.method+"/"+row.why, func(t *testing.T) {
			c := complaintOf(t, row.ask(t.Context()))
			require.Equal(t, row.code, c.code, "%v", c.wholly.Message())
			if row.reason == "" {
				return // gRPC's own refusal carries no details
			}
			require.NotNil(t, c.info)
			require.Equal(t, "payload-manager", c.info.GetDomain())
			require.Equal(t, row.reason, c.info.GetReason(), c.wholly.Message())
			require.Equal(t, row.field, c.field)
			require.NotEmpty(t, c.info.GetMetadata()["code"])
			require.Equal(t, strings.ToLower(row.method), c.info.GetMetadata()["op"])
		})
	}
	requireEveryMethod(t, table)

	for _, id := range []string{p.allocated, p.committable, p.active, p.expired, p.foreign} {
		_, err := r.life.Delete(t.Context(), &payloadv1.DeleteRequest{Id: id})
		require.NoError(t, err)
	}
	_, err := r.lease.Release(t.Context(), &payloadv1.ReleaseRequest{Token: p.lease})
	require.NoError(t, err)
	r.empty() // nothing that was refused left anything behind
}

// requireEveryMethod holds the table against the services. Stats and Hosts ask
// nothing that could be wrong; Session has tests of its own.
func requireEveryMethod(t *testing.T, table []refusal) {
	seen := map[string]bool{"Stats": true, "Hosts": true}
	for _, row := range table {
		seen[row.method] = true
	}
	for _, service := range []grpc.ServiceDesc{
		payloadv1.PayloadService_ServiceDesc, payloadv1.LeaseService_ServiceDesc,
		payloadv1.PlacementService_ServiceDesc, payloadv1.AdminService_ServiceDesc,
	} {
		for _, method := range service.Methods {
			require.True(t, seen[method.MethodName], "no bad request for %s", method.MethodName)
		}
	}
}

func refusals(r *rig, p props) []refusal {
	var table []refusal
	table = append(table, allocateRefusals(r)...)
	table = append(table, changeRefusals(r, p)...)
	table = append(table, lifeRefusals(r, p)...)
	table = append(table, readRefusals(r, p)...)
	table = append(table, tokenRefusals(r, p)...)
	table = append(table, moveRefusals(r, p)...)
	return append(table, batchRefusals(r)...)
}

func allocateRefusals(r *rig) []refusal {
	bad := func(why, field string, ask *payloadv1.AllocateRequest) refusal {
		return refusal{"Allocate", why, func(ctx context.Context) error {
			_, err := r.life.Allocate(ctx, ask)
			return err
		}, codes.InvalidArgument, "INVALID", field}
	}
	policy := func(p *payloadv1.Policy) *payloadv1.AllocateRequest { return &payloadv1.AllocateRequest{Policy: p} }
	other := func(why string, ask *payloadv1.AllocateRequest, code codes.Code, reason string) refusal {
		row := bad(why, "", ask)
		row.code, row.reason = code, reason
		return row
	}
	return []refusal{
		bad("negative size", "size", &payloadv1.AllocateRequest{Size: -1}),
		bad("size out of range", "size", &payloadv1.AllocateRequest{Size: payload.MaxSize + 1}),
		bad("malformed namespace", "namespace", &payloadv1.AllocateRequest{Namespace: "Team B"}),
		bad("long name", "name", &payloadv1.AllocateRequest{Name: tooLong}),
		bad("unprintable name", "name", &payloadv1.AllocateRequest{Name: "a\x00b"}),
		bad("long request id", "request_id", &payloadv1.AllocateRequest{RequestId: tooLong}),
		bad("unprintable request id", "request_id", &payloadv1.AllocateRequest{RequestId: "a\nb"}),
		bad("unknown tier", "policy.tier", policy(&payloadv1.Policy{Tier: 99})),
		bad("negative tier", "policy.tier", policy(&payloadv1.Policy{Tier: -1})),
		bad("unknown lifecycle", "policy.lifecycle", policy(&payloadv1.Policy{Lifecycle: 99})),
		bad("negative ttl", "policy.ttl", policy(&payloadv1.Policy{Ttl: negative})),
		bad("endless ttl", "policy.ttl", policy(&payloadv1.Policy{Ttl: endless})),
		bad("malformed ttl", "policy.ttl", policy(&payloadv1.Policy{Ttl: malformed})),
		bad("overflowing ttl", "policy.ttl", policy(&payloadv1.Policy{Ttl: huge})),
		bad("endless commit", "policy.commit_within", policy(&payloadv1.Policy{CommitWithin: endless})),
		bad("made-up session", "session_id", &payloadv1.AllocateRequest{SessionId: "mine"}),
		other("forged session", &payloadv1.AllocateRequest{SessionId: forgedSession}, codes.PermissionDenied, "DENIED"),
		other("tier that is off", policy(&payloadv1.Policy{Tier: payloadv1.Tier_TIER_GPU}), codes.Unimplemented, "TIER_OFF"),
		other("more than the tier has", &payloadv1.AllocateRequest{Size: 1 << 40}, codes.ResourceExhausted, "TIER_FULL"),
		other("request id with another body", &payloadv1.AllocateRequest{RequestId: "allocate-1", Size: 9}, codes.Aborted, "REQUEST_REUSE"),
		other("oversized message", &payloadv1.AllocateRequest{Name: strings.Repeat("x", 5<<20)}, codes.ResourceExhausted, ""),
	}
}

// A change is what mutations of an existing payload begin with.
type change struct {
	request, namespace, id string
	expected               uint64
}

// changes are the mutations, each from its common head.
func changes(r *rig) map[string]func(context.Context, change) error {
	return map[string]func(context.Context, change) error{
		"Commit": func(ctx context.Context, c change) error {
			_, err := r.life.Commit(ctx, &payloadv1.CommitRequest{RequestId: c.request, Namespace: c.namespace, Id: c.id, ExpectedVersion: c.expected})
			return err
		},
		"Abort": func(ctx context.Context, c change) error {
			_, err := r.life.Abort(ctx, &payloadv1.AbortRequest{RequestId: c.request, Namespace: c.namespace, Id: c.id, ExpectedVersion: c.expected})
			return err
		},
		"Delete": func(ctx context.Context, c change) error {
			_, err := r.life.Delete(ctx, &payloadv1.DeleteRequest{RequestId: c.request, Namespace: c.namespace, Id: c.id, ExpectedVersion: c.expected, Wait: true})
			return err
		},
		"Extend": func(ctx context.Context, c change) error {
			_, err := r.life.Extend(ctx, &payloadv1.ExtendRequest{RequestId: c.request, Namespace: c.namespace, Id: c.id, ExpectedVersion: c.expected, Ttl: durationpb.New(time.Hour)})
			return err
		},
		"Promote": func(ctx context.Context, c change) error {
			_, err := r.move.Promote(ctx, &payloadv1.PromoteRequest{RequestId: c.request, Namespace: c.namespace, Id: c.id, ExpectedVersion: c.expected, To: payloadv1.Tier_TIER_RAM})
			return err
		},
		"Spill": func(ctx context.Context, c change) error {
			_, err := r.move.Spill(ctx, &payloadv1.SpillRequest{RequestId: c.request, Namespace: c.namespace, Id: c.id, ExpectedVersion: c.expected, To: payloadv1.Tier_TIER_DISK})
			return err
		},
	}
}

// changeRefusals are what every mutation refuses alike.
func changeRefusals(r *rig, p props) (table []refusal) {
	for method, do := range changes(r) {
		row := func(why string, c change, code codes.Code, reason, field string) {
			ask := func(ctx context.Context) error { return do(ctx, c) }
			table = append(table, refusal{method, why, ask, code, reason, field})
		}
		subject := p.active
		if method == "Commit" || method == "Abort" {
			subject = p.committable
		}
		row("empty", change{}, codes.InvalidArgument, "INVALID", "id")
		row("malformed id", change{id: "../etc/passwd"}, codes.InvalidArgument, "INVALID", "id")
		row("upper-case id", change{id: strings.ToUpper(subject)}, codes.InvalidArgument, "INVALID", "id")
		row("malformed namespace", change{id: subject, namespace: "a/b"}, codes.InvalidArgument, "INVALID", "namespace")
		row("long request id", change{id: subject, request: tooLong}, codes.InvalidArgument, "INVALID", "request_id")
		row("unknown", change{id: p.unknown}, codes.NotFound, "NOT_FOUND", "")
		row("foreign namespace", change{id: p.foreign, namespace: "default"}, codes.NotFound, "NOT_FOUND", "")
		row("deleted", change{id: p.deleted}, codes.NotFound, "NOT_FOUND", "")
		row("stale version", change{id: subject, expected: p.stale}, codes.Aborted, "STALE_VERSION", "")
		row("stale version with request id", change{id: subject, expected: p.stale, request: "first"}, codes.Aborted, "STALE_VERSION", "")
	}
	return table
}

// lifeRefusals are what single methods of a payload's life refuse.
func lifeRefusals(r *rig, p props) []refusal {
	commit := func(ask *payloadv1.CommitRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := r.life.Commit(ctx, ask); return err }
	}
	extend := func(ask *payloadv1.ExtendRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := r.life.Extend(ctx, ask); return err }
	}
	abort := func(ask *payloadv1.AbortRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := r.life.Abort(ctx, ask); return err }
	}
	list := func(ask *payloadv1.ListRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := r.life.List(ctx, ask); return err }
	}
	// The same request id, with one body and then another.
	reused := func(ctx context.Context) error {
		first := &payloadv1.ExtendRequest{Id: p.active, RequestId: "extend-1", Ttl: durationpb.New(time.Hour)}
		if _, err := r.life.Extend(ctx, first); err != nil {
			return err
		}
		first.Ttl = durationpb.New(2 * time.Hour)
		_, err := r.life.Extend(ctx, first)
		return err
	}
	forged := "A" + p.page[1:]
	if forged == p.page {
		forged = "B" + p.page[1:]
	}
	return []refusal{
		{"Commit", "malformed checksum", commit(&payloadv1.CommitRequest{Id: p.committable, Checksum: "md5:00"}), codes.InvalidArgument, "INVALID", "checksum"},
		{"Commit", "wrong checksum", commit(&payloadv1.CommitRequest{Id: p.committable, Checksum: "crc32c:00000001"}), codes.DataLoss, "CORRUPT", ""},
		{"Commit", "committed already", commit(&payloadv1.CommitRequest{Id: p.active}), codes.Aborted, "CONFLICT", ""},
		{"Abort", "committed", abort(&payloadv1.AbortRequest{Id: p.active}), codes.Aborted, "CONFLICT", ""},
		{"Extend", "negative ttl", extend(&payloadv1.ExtendRequest{Id: p.active, Ttl: negative}), codes.InvalidArgument, "INVALID", "ttl"},
		{"Extend", "endless ttl", extend(&payloadv1.ExtendRequest{Id: p.active, Ttl: endless}), codes.InvalidArgument, "INVALID", "ttl"},
		{"Extend", "malformed ttl", extend(&payloadv1.ExtendRequest{Id: p.active, Ttl: malformed}), codes.InvalidArgument, "INVALID", "ttl"},
		{"Extend", "before commit", extend(&payloadv1.ExtendRequest{Id: p.allocated}), codes.FailedPrecondition, "NOT_COMMITTED", ""},
		{"Extend", "expired", extend(&payloadv1.ExtendRequest{Id: p.expired}), codes.FailedPrecondition, "EXPIRED", ""},
		{"Extend", "request id with another body", reused, codes.Aborted, "REQUEST_REUSE", ""},
		{"List", "malformed namespace", list(&payloadv1.ListRequest{Namespace: "A"}), codes.InvalidArgument, "INVALID", "namespace"},
		{"List", "unknown state", list(&payloadv1.ListRequest{States: []payloadv1.State{99}}), codes.InvalidArgument, "INVALID", "states"},
		{"List", "unspecified state", list(&payloadv1.ListRequest{States: []payloadv1.State{0}}), codes.InvalidArgument, "INVALID", "states"},
		{"List", "unknown tier", list(&payloadv1.ListRequest{Tier: 99}), codes.InvalidArgument, "INVALID", "tier"},
		{"List", "long host", list(&payloadv1.ListRequest{Host: tooLong}), codes.InvalidArgument, "INVALID", "host"},
		{"List", "negative page", list(&payloadv1.ListRequest{PageSize: -1}), codes.InvalidArgument, "INVALID", "page_size"},
		{"List", "large page", list(&payloadv1.ListRequest{PageSize: 1001}), codes.InvalidArgument, "INVALID", "page_size"},
		{"List", "malformed page token", list(&payloadv1.ListRequest{PageToken: "next, please"}), codes.InvalidArgument, "INVALID", "page_token"},
		{"List", "forged page token", list(&payloadv1.ListRequest{PageToken: forged}), codes.InvalidArgument, "INVALID", "page_token"},
		{"List", "page token of another filter", list(&payloadv1.ListRequest{PageToken: p.page, Namespace: "team-b"}), codes.InvalidArgument, "INVALID", "page_token"},
	}
}

func readRefusals(r *rig, p props) (table []refusal) {
	type reading struct{ namespace, id string }
	methods := map[string]func(context.Context, reading) error{
		"Get": func(ctx context.Context, a reading) error {
			_, err := r.life.Get(ctx, &payloadv1.GetRequest{Namespace: a.namespace, Id: a.id})
			return err
		},
		"Resolve": func(ctx context.Context, a reading) error {
			_, err := r.lease.Resolve(ctx, &payloadv1.ResolveRequest{Namespace: a.namespace, Id: a.id})
			return err
		},
		"Acquire": func(ctx context.Context, a reading) error {
			_, err := r.lease.Acquire(ctx, &payloadv1.AcquireRequest{Namespace: a.namespace, Id: a.id, Wait: true})
			return err
		},
	}
	for method, do := range methods {
		row := func(why string, a reading, code codes.Code, reason, field string) {
			ask := func(ctx context.Context) error { return do(ctx, a) }
			table = append(table, refusal{method, why, ask, code, reason, field})
		}
		row("empty", reading{}, codes.InvalidArgument, "INVALID", "id")
		row("malformed id", reading{id: "frame-17"}, codes.InvalidArgument, "INVALID", "id")
		row("malformed namespace", reading{"-", p.active}, codes.InvalidArgument, "INVALID", "namespace")
		row("unknown", reading{id: p.unknown}, codes.NotFound, "NOT_FOUND", "")
		row("foreign namespace", reading{"default", p.foreign}, codes.NotFound, "NOT_FOUND", "")
		if method != "Get" { // which shows every record
			row("deleted", reading{id: p.deleted}, codes.NotFound, "NOT_FOUND", "")
			row("before commit", reading{id: p.allocated}, codes.FailedPrecondition, "NOT_COMMITTED", "")
			row("expired", reading{id: p.expired}, codes.FailedPrecondition, "EXPIRED", "")
		}
	}
	return append(table, acquireRefusals(r, p)...)
}

func acquireRefusals(r *rig, p props) []refusal {
	bad := func(why string, ask *payloadv1.AcquireRequest, code codes.Code, reason, field string) refusal {
		return refusal{"Acquire", why, func(ctx context.Context) error {
			_, err := r.lease.Acquire(ctx, ask)
			return err
		}, code, reason, field}
	}
	invalid := func(field string, ask *payloadv1.AcquireRequest) refusal {
		ask.Id = p.active
		return bad(fmt.Sprint(field, " of ", ask), ask, codes.InvalidArgument, "INVALID", field)
	}
	return []refusal{
		invalid("duration", &payloadv1.AcquireRequest{Duration: negative}),
		invalid("duration", &payloadv1.AcquireRequest{Duration: malformed}),
		invalid("duration", &payloadv1.AcquireRequest{Duration: durationpb.New(payload.MaxLease + 1)}),
		invalid("min_tier", &payloadv1.AcquireRequest{MinTier: 99}),
		invalid("holder", &payloadv1.AcquireRequest{Holder: tooLong}),
		invalid("request_id", &payloadv1.AcquireRequest{RequestId: tooLong}),
		invalid("session_id", &payloadv1.AcquireRequest{SessionId: "mine"}),
		bad("forged session", &payloadv1.AcquireRequest{Id: p.active, SessionId: forgedSession}, codes.PermissionDenied, "DENIED", ""),
		bad("slow", &payloadv1.AcquireRequest{Id: p.active, MinTier: payloadv1.Tier_TIER_GPU}, codes.FailedPrecondition, "TOO_SLOW", ""),
		bad("tier that is off", &payloadv1.AcquireRequest{Id: p.active, MinTier: payloadv1.Tier_TIER_GPU, Wait: true}, codes.Unimplemented, "TIER_OFF", ""),
		bad("request id with another body", &payloadv1.AcquireRequest{Id: p.foreign, RequestId: "acquire-1"}, codes.Aborted, "REQUEST_REUSE", ""),
	}
}

func tokenRefusals(r *rig, p props) []refusal {
	renew := func(token []byte, d *durationpb.Duration) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.lease.Renew(ctx, &payloadv1.RenewRequest{Token: token, Duration: d})
			return err
		}
	}
	release := func(token []byte) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.lease.Release(ctx, &payloadv1.ReleaseRequest{Token: token})
			return err
		}
	}
	forged := append([]byte{}, p.lease...)
	forged[len(forged)-1] ^= 1
	return []refusal{
		{"Renew", "empty", renew(nil, nil), codes.InvalidArgument, "INVALID", "token"},
		{"Renew", "long", renew([]byte(tooLong), nil), codes.InvalidArgument, "INVALID", "token"},
		{"Renew", "forged", renew(forged, nil), codes.PermissionDenied, "DENIED", ""},
		{"Renew", "one byte", renew([]byte{2}, nil), codes.PermissionDenied, "DENIED", ""},
		{"Renew", "negative duration", renew(p.lease, negative), codes.InvalidArgument, "INVALID", "duration"},
		{"Renew", "long duration", renew(p.lease, endless), codes.InvalidArgument, "INVALID", "duration"},
		{"Renew", "malformed duration", renew(p.lease, malformed), codes.InvalidArgument, "INVALID", "duration"},
		{"Renew", "released", renew(p.ended, nil), codes.FailedPrecondition, "EXPIRED", ""},
		{"Release", "empty", release(nil), codes.InvalidArgument, "INVALID", "token"},
		{"Release", "long", release([]byte(tooLong)), codes.InvalidArgument, "INVALID", "token"},
		{"Release", "forged", release(forged), codes.PermissionDenied, "DENIED", ""},
	}
}

func moveRefusals(r *rig, p props) []refusal {
	promote := func(id string, to payloadv1.Tier) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.move.Promote(ctx, &payloadv1.PromoteRequest{Id: id, To: to})
			return err
		}
	}
	spill := func(id string, to payloadv1.Tier) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.move.Spill(ctx, &payloadv1.SpillRequest{Id: id, To: to})
			return err
		}
	}
	// The same request id, to promote and then to spill.
	reused := func(ctx context.Context) error {
		_, err := r.move.Promote(ctx, &payloadv1.PromoteRequest{Id: p.active, To: payloadv1.Tier_TIER_RAM, RequestId: "move-1"})
		if err == nil {
			_, err = r.move.Spill(ctx, &payloadv1.SpillRequest{Id: p.active, To: payloadv1.Tier_TIER_RAM, RequestId: "move-1"})
		}
		return err
	}
	return []refusal{
		{"Spill", "request id with another body", reused, codes.Aborted, "REQUEST_REUSE", ""},
		{"Promote", "no tier", promote(p.active, 0), codes.InvalidArgument, "INVALID", "to"},
		{"Promote", "unknown tier", promote(p.active, 99), codes.InvalidArgument, "INVALID", "to"},
		{"Promote", "downwards", promote(p.active, payloadv1.Tier_TIER_DISK), codes.InvalidArgument, "INVALID", "to"},
		{"Promote", "tier that is off", promote(p.active, payloadv1.Tier_TIER_GPU), codes.Unimplemented, "TIER_OFF", ""},
		{"Promote", "before commit", promote(p.allocated, payloadv1.Tier_TIER_RAM), codes.FailedPrecondition, "NOT_COMMITTED", ""},
		{"Promote", "expired", promote(p.expired, payloadv1.Tier_TIER_RAM), codes.FailedPrecondition, "EXPIRED", ""},
		{"Spill", "no tier", spill(p.active, 0), codes.InvalidArgument, "INVALID", "to"},
		{"Spill", "unknown tier", spill(p.active, -7), codes.InvalidArgument, "INVALID", "to"},
		{"Spill", "tier that is off", spill(p.active, payloadv1.Tier_TIER_OBJECT), codes.Unimplemented, "TIER_OFF", ""},
		{"Spill", "before commit", spill(p.allocated, payloadv1.Tier_TIER_DISK), codes.FailedPrecondition, "NOT_COMMITTED", ""},
		{"Spill", "expired", spill(p.expired, payloadv1.Tier_TIER_DISK), codes.FailedPrecondition, "EXPIRED", ""},
	}
}

func batchRefusals(r *rig) (table []refusal) {
	const many = payload.MaxBatch + 1
	batches := map[string]func(ctx context.Context, items int) error{
		"BatchAllocate": func(ctx context.Context, items int) error {
			_, err := r.life.BatchAllocate(ctx, &payloadv1.BatchAllocateRequest{Requests: make([]*payloadv1.AllocateRequest, items)})
			return err
		},
		"BatchCommit": func(ctx context.Context, items int) error {
			_, err := r.life.BatchCommit(ctx, &payloadv1.BatchCommitRequest{Requests: make([]*payloadv1.CommitRequest, items)})
			return err
		},
		"BatchResolve": func(ctx context.Context, items int) error {
			_, err := r.lease.BatchResolve(ctx, &payloadv1.BatchResolveRequest{Requests: make([]*payloadv1.ResolveRequest, items)})
			return err
		},
		"BatchAcquire": func(ctx context.Context, items int) error {
			_, err := r.lease.BatchAcquire(ctx, &payloadv1.BatchAcquireRequest{Requests: make([]*payloadv1.AcquireRequest, items)})
			return err
		},
		"BatchRenew": func(ctx context.Context, items int) error {
			_, err := r.lease.BatchRenew(ctx, &payloadv1.BatchRenewRequest{Requests: make([]*payloadv1.RenewRequest, items)})
			return err
		},
		"BatchRelease": func(ctx context.Context, items int) error {
			_, err := r.lease.BatchRelease(ctx, &payloadv1.BatchReleaseRequest{Requests: make([]*payloadv1.ReleaseRequest, items)})
			return err
		},
	}
	for method, do := range batches {
		for why, items := range map[string]int{"empty": 0, "too many": many} {
			ask := func(ctx context.Context) error { return do(ctx, items) }
			table = append(table, refusal{method, why, ask, codes.InvalidArgument, "INVALID", "requests"})
		}
	}
	uploads := &payloadv1.BatchAllocateRequest{Requests: []*payloadv1.AllocateRequest{
		{Size: 1 << 40, Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_OBJECT}},
	}}
	return append(table, refusal{"BatchAllocate", "more uploads than an answer holds", func(ctx context.Context) error {
		_, err := r.life.BatchAllocate(ctx, uploads)
		return err
	}, codes.InvalidArgument, "INVALID", "requests"})
}

// Items of a batch that are wrong get an outcome each and spoil nobody's.
func TestEveryBadItemOfABatchIsAnswered(t *testing.T) {
	r := newRig(t)
	p := newProps(r)
	ctx := t.Context()

	commits, err := r.life.BatchCommit(ctx, &payloadv1.BatchCommitRequest{Requests: []*payloadv1.CommitRequest{{}, {Id: p.unknown}, {Id: p.deleted}, {Id: p.committable}}})
	require.NoError(t, err)
	reads, err := r.lease.BatchResolve(ctx, &payloadv1.BatchResolveRequest{Requests: []*payloadv1.ResolveRequest{{}, {Id: p.unknown}, {Id: p.deleted}, {Id: p.active}}})
	require.NoError(t, err)
	leases, err := r.lease.BatchAcquire(ctx, &payloadv1.BatchAcquireRequest{Requests: []*payloadv1.AcquireRequest{{}, {Id: p.unknown}, {Id: p.deleted}, {Id: p.active}}})
	require.NoError(t, err)
	token := leases.GetOutcomes()[3].GetResponse().GetLease().GetToken()
	renewals, err := r.lease.BatchRenew(ctx, &payloadv1.BatchRenewRequest{Requests: []*payloadv1.RenewRequest{{}, {Token: []byte("x")}, {Token: p.ended}, {Token: token}}})
	require.NoError(t, err)
	releases, err := r.lease.BatchRelease(ctx, &payloadv1.BatchReleaseRequest{Requests: []*payloadv1.ReleaseRequest{{}, {Token: []byte("x")}, {Token: p.ended}, {Token: token}}})
	require.NoError(t, err)

	of := map[string][]*payloadv1.ItemError{}
	for i := range 4 {
		of["commit"] = append(of["commit"], commits.GetOutcomes()[i].GetError())
		of["resolve"] = append(of["resolve"], reads.GetOutcomes()[i].GetError())
		of["acquire"] = append(of["acquire"], leases.GetOutcomes()[i].GetError())
		of["renew"] = append(of["renew"], renewals.GetOutcomes()[i].GetError())
		of["release"] = append(of["release"], releases.GetOutcomes()[i].GetError())
	}
	want := map[string][4]string{
		"commit":  {"INVALID", "NOT_FOUND", "NOT_FOUND", ""},
		"resolve": {"INVALID", "NOT_FOUND", "NOT_FOUND", ""},
		"acquire": {"INVALID", "NOT_FOUND", "NOT_FOUND", ""},
		"renew":   {"INVALID", "DENIED", "EXPIRED", ""},
		"release": {"INVALID", "DENIED", "", ""},
	}
	for op, reasons := range want {
		for i, reason := range reasons {
			require.Equal(t, reason, of[op][i].GetReason(), "%s item %d", op, i)
		}
	}
}
