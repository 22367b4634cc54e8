package facade

import (
	"context"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// lifeService carries payloads from allocation to deletion.
type lifeService struct {
	payloadv1.UnimplementedPayloadServiceServer
	facade *Facade
}

func (s *lifeService) Allocate(ctx context.Context, r *payloadv1.AllocateRequest) (*payloadv1.AllocateResponse, error) {
	asked, err := readAllocate(r)
	if err != nil {
		return nil, err
	}
	one, err := s.facade.within(ctx, r.GetSessionId())
	if err != nil {
		return nil, err
	}
	defer s.facade.sessions.leave(one)
	asked.Session = one.name()
	a, err := s.facade.host.Allocate(ctx, asked)
	if err != nil {
		return nil, err
	}
	return allocation(s.facade, a), nil
}

func (s *lifeService) BatchAllocate(ctx context.Context, r *payloadv1.BatchAllocateRequest) (*payloadv1.BatchAllocateResponse, error) {
	if err := checkBatchAllocate(r.GetRequests()); err != nil {
		return nil, err
	}
	outcomes := inParallel(r.GetRequests(), func(item *payloadv1.AllocateRequest) *payloadv1.BatchAllocateResponse_Outcome {
		answer, err := guard(func() (*payloadv1.AllocateResponse, error) { return s.Allocate(ctx, item) })
		return &payloadv1.BatchAllocateResponse_Outcome{Response: answer, Error: s.facade.itemError(ctx, "allocate", err)}
	})
	return &payloadv1.BatchAllocateResponse{Outcomes: outcomes}, nil
}

func (s *lifeService) Commit(ctx context.Context, r *payloadv1.CommitRequest) (*payloadv1.CommitResponse, error) {
	var f fields
	change, sum := f.change(r), f.checksum("checksum", r.GetChecksum())
	if f.err != nil {
		return nil, f.err
	}
	p, err := s.facade.host.Commit(ctx, change, sum)
	if err != nil {
		return nil, err
	}
	return &payloadv1.CommitResponse{Payload: s.facade.payload(p)}, nil
}

func (s *lifeService) BatchCommit(ctx context.Context, r *payloadv1.BatchCommitRequest) (*payloadv1.BatchCommitResponse, error) {
	if err := checkBatch(r.GetRequests()); err != nil {
		return nil, err
	}
	outcomes := inParallel(r.GetRequests(), func(item *payloadv1.CommitRequest) *payloadv1.BatchCommitResponse_Outcome {
		answer, err := guard(func() (*payloadv1.CommitResponse, error) { return s.Commit(ctx, item) })
		return &payloadv1.BatchCommitResponse_Outcome{Response: answer, Error: s.facade.itemError(ctx, "commit", err)}
	})
	return &payloadv1.BatchCommitResponse{Outcomes: outcomes}, nil
}

func (s *lifeService) Abort(ctx context.Context, r *payloadv1.AbortRequest) (*payloadv1.AbortResponse, error) {
	var f fields
	change := f.change(r)
	if f.err != nil {
		return nil, f.err
	}
	p, err := s.facade.host.Abort(ctx, change)
	if err != nil {
		return nil, err
	}
	return &payloadv1.AbortResponse{Payload: s.facade.payload(p)}, nil
}

func (s *lifeService) Get(ctx context.Context, r *payloadv1.GetRequest) (*payloadv1.GetResponse, error) {
	var f fields
	namespace, id := f.namespace("namespace", r.GetNamespace()), f.id("id", r.GetId())
	if f.err != nil {
		return nil, f.err
	}
	p, err := s.facade.catalog.Get(ctx, namespace, id)
	if err != nil {
		return nil, err
	}
	return &payloadv1.GetResponse{Payload: s.facade.payload(p)}, nil
}

func (s *lifeService) List(ctx context.Context, r *payloadv1.ListRequest) (*payloadv1.ListResponse, error) {
	q, err := readList(r)
	if err != nil {
		return nil, err
	}
	page, err := s.facade.catalog.List(ctx, q)
	if err != nil {
		return nil, err
	}
	answer := &payloadv1.ListResponse{Payloads: make([]*payloadv1.Payload, len(page))}
	for i, p := range page {
		answer.Payloads[i] = s.facade.payload(p)
	}
	if len(page) == q.Limit {
		answer.NextPageToken = pageToken(r, page[len(page)-1].ID)
	}
	return answer, nil
}

func (s *lifeService) Delete(ctx context.Context, r *payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
	var f fields
	change := f.change(r)
	if f.err != nil {
		return nil, f.err
	}
	p, err := s.facade.host.Delete(ctx, change)
	if err == nil && r.GetWait() {
		p, err = s.awaitEnd(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return &payloadv1.DeleteResponse{Payload: s.facade.payload(p)}, nil
}

func (s *lifeService) awaitEnd(ctx context.Context, p payload.Payload) (payload.Payload, error) {
	ctx, done := s.facade.waiting(ctx)
	defer done()
	return s.facade.host.AwaitEnd(ctx, p.Namespace, p.ID)
}

func (s *lifeService) Extend(ctx context.Context, r *payloadv1.ExtendRequest) (*payloadv1.ExtendResponse, error) {
	var f fields
	change, ttl := f.change(r), f.duration("ttl", r.GetTtl(), payload.MaxTTL)
	if f.err != nil {
		return nil, f.err
	}
	p, previous, err := s.facade.host.Extend(ctx, change, ttl)
	if err != nil {
		return nil, err
	}
	return &payloadv1.ExtendResponse{Payload: s.facade.payload(p), PreviousExpiresAt: instant(previous)}, nil
}
