package activities

import (
	"context"
	"sync/atomic"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Copy carries out contract.Copy. It heartbeats how far it is, and ends early
// when the workflow cancels it.
func (a *Activities) Copy(ctx context.Context, in contract.CopyInput) (contract.MoveResult, error) {
	if err := a.here(in.Host); err != nil {
		return contract.MoveResult{}, failure(ctx, err)
	}
	var done, total atomic.Int64
	stop := beat(ctx, func() contract.Progress { return contract.Progress{Done: done.Load(), Total: total.Load()} })
	defer stop()
	after, copied, err := a.host.Copy(ctx, in.ID, in.To, func(d, t int64) {
		done.Store(d)
		total.Store(t)
	})
	if err != nil {
		return contract.MoveResult{}, failure(ctx, err)
	}
	return contract.MoveResult{Version: after.Version, Bytes: copied}, nil
}

// Retire carries out contract.Retire.
func (a *Activities) Retire(ctx context.Context, in contract.RetireInput) (contract.MoveResult, error) {
	if err := a.here(in.Host); err != nil {
		return contract.MoveResult{}, failure(ctx, err)
	}
	after, err := a.host.Retire(ctx, in.ID, in.Faster)
	if err != nil {
		return contract.MoveResult{}, failure(ctx, err)
	}
	return contract.MoveResult{Version: after.Version}, nil
}

// here refuses work that came to the wrong queue.
func (a *Activities) here(host string) error {
	if host == a.host.Name() {
		return nil
	}
	return &payload.Error{Code: payload.WrongHost, Host: host, Err: payload.Errorf(payload.WrongHost, "this is the queue of another host").Err}
}
