package relay

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// retryMove is how long callers are asked to wait when Temporal cannot be
// reached, and how often a waiting move tries again by itself.
const retryMove = time.Second

// Promote has the payload's lifecycle copy it to a faster tier of this host, and
// waits until the copy is readable. With Temporal out of reach it waits until
// ctx ends, then says Unavailable. A move that was asked for goes on when its
// caller gives up.
func (r *Relay) Promote(ctx context.Context, p payload.Payload, to payload.Tier) error {
	return r.move(ctx, contract.Promote, p, to)
}

// Spill has it copied to a slower tier and the faster placements of this host
// given up.
func (r *Relay) Spill(ctx context.Context, p payload.Payload, to payload.Tier) error {
	return r.move(ctx, contract.Spill, p, to)
}

type moveUpdate = contract.Update[contract.MoveRequest, contract.MoveResult]

// move sends one Update for all who wait for the same: Temporal takes ten at a
// time for a workflow.
func (r *Relay) move(ctx context.Context, update moveUpdate, p payload.Payload, to payload.Tier) error {
	wanted := flightKey{p.ID, update, to}
	flight := r.flights.join(wanted, func(ctx context.Context) error { return r.request(ctx, update, p, to) })
	defer r.flights.leave(wanted, flight)
	select {
	case <-flight.done:
		return payload.Wrap(string(update), p.ID, flight.err)
	case <-ctx.Done():
		return payload.Wrap(string(update), p.ID, late())
	}
}

func late() error {
	return payload.Errorf(payload.Unavailable, "the move was not done in time: ask again to go on waiting").Retry(retryMove)
}

// request asks until Temporal took the Update, and returns its outcome.
func (r *Relay) request(ctx context.Context, update moveUpdate, p payload.Payload, to payload.Tier) error {
	for {
		err := r.ask(ctx, update, p, to)
		if !goesAgain(err) {
			return refusal(err)
		}
		select {
		case <-ctx.Done():
			return late()
		case <-time.After(retryMove):
		}
	}
}

func (r *Relay) ask(ctx context.Context, update moveUpdate, p payload.Payload, to payload.Tier) error {
	options, in := r.lifecycle(p)
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	handle, err := r.client.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: r.client.NewWithStartWorkflowOperation(options, string(contract.Lifecycle), in),
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateID:     uuid.NewString(),
			UpdateName:   string(update),
			Args:         []any{contract.MoveRequest{To: to, Host: r.host}},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return err
	}
	var result contract.MoveResult
	return handle.Get(ctx, &result)
}

// flights are the moves that callers of this host wait for.
type flights struct {
	mu   sync.Mutex
	open map[flightKey]*flight
}

type flightKey struct {
	id     payload.ID
	update moveUpdate
	to     payload.Tier
}

// A flight ends when it is done, or when nobody waits for it any more.
type flight struct {
	done    chan struct{}
	err     error // once done is closed
	waiting int
	cancel  context.CancelFunc
}

func (f *flights) join(key flightKey, fly func(context.Context) error) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[flightKey]*flight{}
	}
	at := f.open[key]
	if at == nil {
		at = f.depart(key, fly)
	}
	at.waiting++
	return at
}

func (f *flights) depart(key flightKey, fly func(context.Context) error) *flight {
	ctx, cancel := context.WithCancel(context.Background())
	at := &flight{done: make(chan struct{}), cancel: cancel}
	f.open[key] = at
	go func() {
		err := fly(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.land(key, at)
		at.err = err
		close(at.done)
	}()
	return at
}

// land makes the next caller start anew.
func (f *flights) land(key flightKey, at *flight) {
	if f.open[key] == at {
		delete(f.open, key)
	}
}

func (f *flights) leave(key flightKey, at *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.waiting--; at.waiting == 0 {
		f.land(key, at)
		at.cancel()
	}
}
