package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/payload-manager/payload-manager/sdk/contract"
)

// beat heartbeats until stop, which waits for the last beat; details, where
// given, says what each beat carries. Work reports its progress by memory
// alone, and a phase without progress still beats.
func beat(ctx context.Context, details func() contract.Progress) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(contract.BeatEvery)
		defer tick.Stop()
		for {
			if details == nil {
				activity.RecordHeartbeat(ctx)
			} else {
				activity.RecordHeartbeat(ctx, details())
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}
