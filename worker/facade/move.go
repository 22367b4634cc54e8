package facade

import (
	"context"

	"github.com/payload-manager/payload-manager/catalog"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// placementService has payloads moved, and answers when they are where they
// were asked to be.
type placementService struct {
	payloadv1.UnimplementedPlacementServiceServer
	facade *Facade
}

func (s *placementService) Promote(ctx context.Context, r *payloadv1.PromoteRequest) (*payloadv1.PromoteResponse, error) {
	p, err := s.facade.move(ctx, "promote", r, s.facade.promote)
	if err != nil {
		return nil, err
	}
	return &payloadv1.PromoteResponse{Payload: s.facade.payload(p)}, nil
}

func (s *placementService) Spill(ctx context.Context, r *payloadv1.SpillRequest) (*payloadv1.SpillResponse, error) {
	p, err := s.facade.move(ctx, "spill", r, s.facade.spill)
	if err != nil {
		return nil, err
	}
	return &payloadv1.SpillResponse{Payload: s.facade.payload(p)}, nil
}

type moveRequest interface {
	mutation
	GetTo() payloadv1.Tier
}

// move has a payload moved and returns its record afterwards. A repeated
// request moves again, which does nothing where the bytes are in place.
func (f *Facade) move(ctx context.Context, op string, r moveRequest, how func(context.Context, payload.Payload, payload.Tier) error) (payload.Payload, error) {
	var in fields
	change, to := in.change(r), in.tier("to", r.GetTo())
	if in.err != nil {
		return payload.Payload{}, in.err
	}
	ctx, done := f.waiting(ctx)
	defer done()
	p, err := f.catalog.Admit(ctx, op, change)
	if err == nil {
		err = how(ctx, p, to)
	}
	if err != nil {
		return payload.Payload{}, payload.Wrap(op, change.ID, err)
	}
	return f.catalog.Get(ctx, change.Namespace, change.ID)
}

// promote has a copy made in a faster tier of this host, unless one is ready.
func (f *Facade) promote(ctx context.Context, p payload.Payload, to payload.Tier) error {
	if err := f.host.Offers(to); err != nil {
		return err
	}
	if at, found := p.At(to, f.host.Name()); found && at.State == payload.Ready {
		return nil
	}
	best, err := f.best(p)
	if err != nil {
		return err
	}
	if best.AtLeast(to) {
		return invalid("to", "the payload is ready in %s, which is faster than %s: spill it to move it down", best, to)
	}
	return f.mover.Promote(ctx, p, to)
}

// spill has the payload moved down, unless nothing ready here is faster.
func (f *Facade) spill(ctx context.Context, p payload.Payload, to payload.Tier) error {
	if err := f.host.Offers(to); err != nil {
		return err
	}
	best, err := f.best(p)
	if err != nil || to.AtLeast(best) {
		return err
	}
	return f.mover.Spill(ctx, p, to)
}

// best is the fastest tier in which this host reaches a ready copy.
func (f *Facade) best(p payload.Payload) (payload.Tier, error) {
	if p.State != payload.StateActive {
		return "", catalog.Refuse(p.State)
	}
	best, owner := payload.Tier(""), ""
	for _, at := range p.Placements {
		switch {
		case at.State != payload.Ready:
		case !f.reaches(at):
			owner = at.Host
		case best == "" || at.Tier.AtLeast(best):
			best = at.Tier
		}
	}
	switch {
	case best != "":
		return best, nil
	case owner != "":
		wrong := payload.Errorf(payload.WrongHost, "the bytes are on another host: ask its daemon")
		wrong.Host = owner
		return "", wrong
	default:
		return "", catalog.Refuse(payload.StateLost)
	}
}
