package facade

import (
	"golang.org/x/sync/errgroup"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
)

// abreast is how many changes of one batch are under way at a time: enough for
// them to share the catalog's commits, few enough to leave others their turn.
const abreast = 64

// maxBatchUploads bounds what one batch allocates in the object tier. 64 GiB
// are 4,096 upload URLs of about half a kilobyte each: more would not fit into
// the answer.
const maxBatchUploads = int64(64) << 30 // bytes

func checkBatch[Item any](items []Item) error {
	var f fields
	f.batch(len(items))
	return f.err
}

func checkBatchAllocate(items []*payloadv1.AllocateRequest) error {
	var uploads int64
	for _, item := range items {
		if item.GetPolicy().GetTier() == payloadv1.Tier_TIER_OBJECT && item.GetSize() > 0 {
			uploads += min(item.GetSize(), maxBatchUploads+1)
		}
	}
	if uploads > maxBatchUploads {
		return invalid("requests", "the object allocations of one batch are at most %d bytes together", maxBatchUploads)
	}
	return checkBatch(items)
}

// inParallel does every item, several at a time, and returns the outcomes in
// the order of the items. do must not panic: see guard.
func inParallel[Item, Outcome any](items []Item, do func(Item) Outcome) []Outcome {
	outcomes := make([]Outcome, len(items))
	var group errgroup.Group
	group.SetLimit(abreast)
	for i, item := range items {
		group.Go(func() error {
			outcomes[i] = do(item)
			return nil
		})
	}
	_ = group.Wait() // each outcome carries its own error
	return outcomes
}

// inTurn does every item one after the other: what is answered from memory is
// done sooner than a goroutine is started.
func inTurn[Item, Outcome any](items []Item, do func(Item) Outcome) []Outcome {
	outcomes := make([]Outcome, len(items))
	for i, item := range items {
		outcomes[i] = do(item)
	}
	return outcomes
}
