package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
)

// tending touches the catalog and, on the right host, frees one payload.
func tending(ctx workflow.Context) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		// A catalog step takes milliseconds and freeing a large file a second.
		StartToCloseTimeout: 20 * time.Second,
		// Short, because a workflow task is held open meanwhile: the lifecycle
		// itself tries again later.
		ScheduleToCloseTimeout: 30 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumInterval: 5 * time.Second},
		Summary:                "look at the catalog",
	})
}

// reaping frees what is due on a host.
func reaping(ctx workflow.Context, host string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: contract.HostQueue(host),
		// Nobody takes it within this: the host is down. The lifecycle tries
		// again with growing patience.
		ScheduleToStartTimeout: time.Minute,
		// A group of a million payloads at a millisecond each is 17 minutes.
		StartToCloseTimeout: time.Hour,
		// It beats every few seconds: contract.BeatEvery.
		HeartbeatTimeout: contract.BeatEvery * 4,
		RetryPolicy:      &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second, MaximumAttempts: 5},
		Summary:          "free what is due on " + host,
	})
}

// copying moves bytes, for as long as it takes.
func copying(ctx workflow.Context, host, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: contract.HostQueue(host),
		// Copies queue behind other copies for a free slot; beyond this the
		// host is taken for dead and whoever asked is told so.
		ScheduleToStartTimeout: 2 * time.Minute,
		// 16 TiB at 200 MB/s take 24 hours.
		StartToCloseTimeout: 48 * time.Hour,
		HeartbeatTimeout:    contract.BeatEvery * 4,
		// No end: whoever asked decides how long to wait, and failures that
		// cannot heal are marked non-retryable where they happen.
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second},
		Summary:     summary,
	})
}

// retiring closes placements to new leases: one catalog step each.
func retiring(ctx workflow.Context, host, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.HostQueue(host),
		ScheduleToStartTimeout: 2 * time.Minute, // as for copying
		StartToCloseTimeout:    30 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second},
		Summary:                summary,
	})
}

// sweeping reads and writes the catalog page by page, on any host.
func sweeping(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Minute, // a million overdue payloads at 1 ms each are 17
		HeartbeatTimeout:    contract.BeatEvery * 4,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: time.Minute, MaximumAttempts: 10},
		Summary:             "wake what is overdue, forget old tombstones",
	})
}
