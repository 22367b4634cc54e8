package facade

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// leaseService is the hot path: for a payload on this host it converts, looks
// into memory and converts back.
type leaseService struct {
	payloadv1.UnimplementedLeaseServiceServer
	facade *Facade
}

func (s *leaseService) Resolve(ctx context.Context, r *payloadv1.ResolveRequest) (*payloadv1.ResolveResponse, error) {
	var f fields
	namespace, id := f.namespace("namespace", r.GetNamespace()), f.id("id", r.GetId())
	if f.err != nil {
		return nil, f.err
	}
	d, err := s.facade.host.Resolve(ctx, namespace, id)
	if err != nil {
		return nil, err
	}
	return &payloadv1.ResolveResponse{Best: descriptor(d)}, nil
}

func (s *leaseService) Acquire(ctx context.Context, r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) {
	return s.acquireByCall(ctx, r, r.GetWait())
}

func (s *leaseService) acquireByCall(ctx context.Context, r *payloadv1.AcquireRequest, wait bool) (*payloadv1.AcquireResponse, error) {
	one, err := s.facade.within(ctx, r.GetSessionId())
	if err != nil {
		return nil, err
	}
	defer s.facade.sessions.leave(one)
	return s.acquire(ctx, r, client{session: one}, wait)
}

// A client is who asks in a session; the zero client asks without one.
type client struct {
	session *session
	holder  string
}

func (s *leaseService) acquire(ctx context.Context, r *payloadv1.AcquireRequest, by client, wait bool) (*payloadv1.AcquireResponse, error) {
	asked, err := readAcquire(r)
	if err != nil {
		return nil, err
	}
	asked.Session = by.session.name()
	if asked.Holder == "" {
		asked.Holder = by.holder
	}
	l, err := s.facade.host.Acquire(ctx, asked)
	if wait && payload.ReasonOf(err) == payload.TooSlow {
		l, err = s.facade.acquirePromoted(ctx, asked)
	}
	if err != nil {
		return nil, err
	}
	return &payloadv1.AcquireResponse{Lease: lease(l)}, nil
}

// acquirePromoted has the payload promoted, and leases it, until the lease
// comes before the next spill does or the caller's time is over.
func (f *Facade) acquirePromoted(ctx context.Context, asked placement.AcquireRequest) (payload.Lease, error) {
	ctx, done := f.waiting(ctx)
	defer done()
	for {
		p, err := f.catalog.Get(ctx, asked.Namespace, asked.ID)
		if err == nil {
			err = f.promote(ctx, p, asked.MinTier)
		}
		if err != nil {
			return payload.Lease{}, payload.Wrap("acquire", asked.ID, err)
		}
		l, err := f.host.Acquire(ctx, asked)
		if payload.ReasonOf(err) != payload.TooSlow {
			return l, err
		}
	}
}

func (s *leaseService) Renew(ctx context.Context, r *payloadv1.RenewRequest) (*payloadv1.RenewResponse, error) {
	var f fields
	token, duration := f.token("token", r.GetToken()), f.lease("duration", r.GetDuration())
	if f.err != nil {
		return nil, f.err
	}
	renewal, err := s.facade.host.Renew(ctx, token, duration)
	if err != nil {
		return nil, err
	}
	return &payloadv1.RenewResponse{
		Remaining: durationpb.New(renewal.Remaining), Url: renewal.URL, UrlValidFor: span(renewal.URLExpires),
	}, nil
}

func (s *leaseService) Release(ctx context.Context, r *payloadv1.ReleaseRequest) (*payloadv1.ReleaseResponse, error) {
	var f fields
	token := f.token("token", r.GetToken())
	if f.err != nil {
		return nil, f.err
	}
	if err := s.facade.host.Release(ctx, token); err != nil {
		return nil, err
	}
	return &payloadv1.ReleaseResponse{}, nil
}

func (s *leaseService) BatchResolve(ctx context.Context, r *payloadv1.BatchResolveRequest) (*payloadv1.BatchResolveResponse, error) {
	if err := checkBatch(r.GetRequests()); err != nil {
		return nil, err
	}
	outcomes := inTurn(r.GetRequests(), func(item *payloadv1.ResolveRequest) *payloadv1.BatchResolveResponse_Outcome {
		answer, err := s.Resolve(ctx, item)
		return &payloadv1.BatchResolveResponse_Outcome{Response: answer, Error: s.facade.itemError(ctx, "resolve", err)}
	})
	return &payloadv1.BatchResolveResponse{Outcomes: outcomes}, nil
}

func (s *leaseService) BatchAcquire(ctx context.Context, r *payloadv1.BatchAcquireRequest) (*payloadv1.BatchAcquireResponse, error) {
	if err := checkBatch(r.GetRequests()); err != nil {
		return nil, err
	}
	outcomes := inTurn(r.GetRequests(), func(item *payloadv1.AcquireRequest) *payloadv1.BatchAcquireResponse_Outcome {
		answer, err := s.acquireByCall(ctx, item, false)
		return &payloadv1.BatchAcquireResponse_Outcome{Response: answer, Error: s.facade.itemError(ctx, "acquire", err)}
	})
	return &payloadv1.BatchAcquireResponse{Outcomes: outcomes}, nil
}

func (s *leaseService) BatchRenew(ctx context.Context, r *payloadv1.BatchRenewRequest) (*payloadv1.BatchRenewResponse, error) {
	if err := checkBatch(r.GetRequests()); err != nil {
		return nil, err
	}
	outcomes := inTurn(r.GetRequests(), func(item *payloadv1.RenewRequest) *payloadv1.BatchRenewResponse_Outcome {
		answer, err := s.Renew(ctx, item)
		return &payloadv1.BatchRenewResponse_Outcome{Response: answer, Error: s.facade.itemError(ctx, "renew", err)}
	})
	return &payloadv1.BatchRenewResponse{Outcomes: outcomes}, nil
}

func (s *leaseService) BatchRelease(ctx context.Context, r *payloadv1.BatchReleaseRequest) (*payloadv1.BatchReleaseResponse, error) {
	if err := checkBatch(r.GetRequests()); err != nil {
		return nil, err
	}
	outcomes := inTurn(r.GetRequests(), func(item *payloadv1.ReleaseRequest) *payloadv1.BatchReleaseResponse_Outcome {
		answer, err := s.Release(ctx, item)
		return &payloadv1.BatchReleaseResponse_Outcome{Response: answer, Error: s.facade.itemError(ctx, "release", err)}
	})
	return &payloadv1.BatchReleaseResponse{Outcomes: outcomes}, nil
}
