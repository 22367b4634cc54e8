package activities

import (
	"context"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// SweepOverdue carries out contract.SweepOverdue.
func (a *Activities) SweepOverdue(ctx context.Context, in contract.SweepInput) (contract.SweepResult, error) {
	stop := beat(ctx, nil)
	defer stop()
	var out contract.SweepResult
	var err error
	if out.Woken, err = a.wakeOverdue(ctx, in); err == nil {
		out.Forgotten, err = a.prune(ctx, in)
	}
	return out, failure(ctx, err)
}

// wakeOverdue pages through what was due longer than the grace ago: whoever
// carries it has lost sight of it, or waits for leases and is woken in vain.
func (a *Activities) wakeOverdue(ctx context.Context, in contract.SweepInput) (woken int, err error) {
	by := a.catalog.Now().Add(-in.Grace)
	page := catalog.Query{OpenOnly: true, DueBy: &by, Limit: payload.MaxBatch}
	for {
		overdue, err := a.catalog.List(ctx, page)
		if err != nil {
			return woken, err
		}
		for _, p := range overdue {
			if err := a.catalog.Wake(ctx, p.ID); err != nil && payload.CodeOf(err) != payload.NotFound {
				return woken, err
			}
			woken++
		}
		if len(overdue) < page.Limit {
			return woken, nil
		}
		page.After = overdue[len(overdue)-1].ID
	}
}

func (a *Activities) prune(ctx context.Context, in contract.SweepInput) (forgotten int, err error) {
	if in.Retention == 0 {
		return 0, nil
	}
	for {
		n, err := a.catalog.Prune(ctx, in.Retention, payload.MaxBatch)
		if forgotten += n; err != nil || n == 0 || ctx.Err() != nil {
			return forgotten, err
		}
	}
}
