package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
)

// Sweep wakes the lifecycles of overdue payloads, by way of the outbox, and
// forgets old tombstones. A schedule starts it.
func Sweep(ctx workflow.Context, in contract.SweepInput) (out contract.SweepResult, err error) {
	err = workflow.ExecuteActivity(sweeping(ctx), string(contract.SweepOverdue), in).Get(ctx, &out)
	return out, err
}
