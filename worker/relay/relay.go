package relay

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Options are what a Relay is made of. All are needed.
type Options struct {
	Catalog   *catalog.Catalog
	Client    client.Client
	Namespace string        // of Temporal
	Host      string        // this one
	Interval  time.Duration // how often the outbox is read
	InFlight  int           // lifecycles started at a time
	Log       *slog.Logger
}

// A Relay carries messages to Temporal. Its methods may be called concurrently;
// Run runs once.
type Relay struct {
	catalog   *catalog.Catalog
	client    client.Client
	namespace string
	host      string
	interval  time.Duration
	inFlight  int
	log       *slog.Logger

	told    map[string]*telling // by group; Run's alone
	flights flights
}

// New returns a relay that carries nothing yet: call Run.
func New(o Options) *Relay {
	return &Relay{
		catalog: o.Catalog, client: o.Client, namespace: o.Namespace, host: o.Host,
		interval: o.Interval, inFlight: o.InFlight, log: o.Log, told: map[string]*telling{},
	}
}

const (
	batch       = 1000             // entries read at a time
	firstPause  = time.Second      // after a failure
	longestWait = 15 * time.Second // between tries during an outage
	sendWithin  = 10 * time.Second // one message to Temporal
)

// Run carries the outbox until ctx ends. During an outage, of Temporal or of
// the catalog, it tries again with growing pauses and says so once.
func (r *Relay) Run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		more, err := r.carry(ctx)
		wait := r.interval
		switch {
		case err != nil && ctx.Err() == nil:
			if pause == 0 {
				r.log.Warn("lifecycles cannot be brought to Temporal; payloads are served all the same, and the rest catches up later", "error", err)
			}
			pause = min(max(2*pause, firstPause), longestWait)
			wait = pause
		case pause > 0 && err == nil:
			r.log.Info("lifecycles reach Temporal again")
			pause = 0
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// carry brings one batch to Temporal.
func (r *Relay) carry(ctx context.Context) (more bool, err error) {
	if err := r.payDebts(ctx); err != nil {
		return false, err
	}
	backlog, err := r.catalog.Pending(ctx, batch)
	if err != nil {
		return false, err
	}
	round := sort(backlog, r.host, batch, r.catalog.Now())
	if len(round.over) > 0 {
		if err := r.catalog.Settle(ctx, round.over, ""); err != nil {
			return false, err
		}
	}
	for group, entries := range round.groups {
		if err := r.carryGroup(ctx, group, entries); err != nil {
			return false, err
		}
	}
	if err := r.carryEnds(ctx, round.ended); err != nil {
		return false, err
	}
	return round.more, r.carryOwn(ctx, round.own)
}

// carryEnds wakes lifecycles whose payload ended without them, which those
// without a time to live would never notice. One that is gone need not hear.
func (r *Relay) carryEnds(ctx context.Context, entries []catalog.Entry) error {
	carriers := map[string][]catalog.Entry{}
	for _, e := range entries {
		id := WorkflowID(e.Payload)
		carriers[id] = append(carriers[id], e)
	}
	var sends errgroup.Group
	sends.SetLimit(r.inFlight)
	for id := range carriers {
		sends.Go(func() error { return r.wakeIfThere(ctx, id) })
	}
	if err := sends.Wait(); err != nil || len(entries) == 0 {
		return err
	}
	return r.catalog.Settle(ctx, entries, "")
}

func (r *Relay) wakeIfThere(ctx context.Context, workflow string) error {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	err := r.client.SignalWorkflow(ctx, workflow, "", string(contract.Wake), struct{}{})
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
		return nil
	}
	return err
}

// carryGroup tells the group's lifecycle first and makes the payloads its
// members second. A relay that dies in between leaves the entries to be carried
// again; the lifecycle stays for a while to see who comes.
func (r *Relay) carryGroup(ctx context.Context, group string, entries []catalog.Entry) error {
	first := entries[0].Payload
	if err := r.tell(ctx, group, first.Namespace, home(first, r.host)); err != nil {
		return err
	}
	return r.catalog.Settle(ctx, entries, group)
}

// groupPause is the least between two wakes of one group: its lifecycle begins a
// round once a second at most, and each wake costs a Temporal server some 30 ms.
const groupPause = time.Second

// A telling is the last wake of a group, and whether one is owed to it for
// payloads that joined since. Should the relay die owing it, the lifecycle, which
// stays for a minute after a wake, looks again by itself.
type telling struct {
	at              time.Time
	owed            bool
	namespace, host string
}

// tell wakes a group's lifecycle, or remembers to, when that was done a moment
// ago.
func (r *Relay) tell(ctx context.Context, group, namespace, host string) error {
	now := r.catalog.Now()
	if last, known := r.told[group]; known && now.Sub(last.at) < groupPause {
		last.owed = true
		return nil
	}
	if err := r.wakeGroup(ctx, group, namespace, host); err != nil {
		return err
	}
	r.told[group] = &telling{at: now, namespace: namespace, host: host}
	return nil
}

// payDebts wakes the groups that wakes are owed to, and forgets those that are
// long told.
func (r *Relay) payDebts(ctx context.Context) error {
	now := r.catalog.Now()
	for group, last := range r.told {
		switch since := now.Sub(last.at); {
		case since < groupPause:
		case last.owed:
			if err := r.wakeGroup(ctx, group, last.namespace, last.host); err != nil {
				return err
			}
			last.at, last.owed = now, false
		default:
			delete(r.told, group)
		}
	}
	return nil
}

// carryOwn starts or wakes a lifecycle for each entry, several at a time. What
// Temporal took is settled also when another entry failed.
func (r *Relay) carryOwn(ctx context.Context, entries []catalog.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	taken := make([]bool, len(entries))
	var sends errgroup.Group
	sends.SetLimit(r.inFlight)
	for i, e := range entries {
		sends.Go(func() error {
			err := r.wakeOwn(ctx, e.Payload)
			taken[i] = err == nil
			return err
		})
	}
	failed := sends.Wait()
	var delivered []catalog.Entry
	for i, e := range entries {
		if taken[i] {
			delivered = append(delivered, e)
		}
	}
	if len(delivered) > 0 {
		if err := r.catalog.Settle(ctx, delivered, ""); err != nil {
			return err
		}
	}
	return failed
}

// Lag says how many lifecycles Temporal has not heard of yet, and how long the
// oldest of them has waited.
func (r *Relay) Lag(ctx context.Context) (entries int, oldest time.Duration, err error) {
	backlog, err := r.catalog.Pending(ctx, 1)
	if err != nil || len(backlog.Entries) == 0 {
		return backlog.Total, 0, err
	}
	return backlog.Total, r.catalog.Now().Sub(backlog.Entries[0].Since), nil
}

// Wake tells a payload's lifecycle, if there is one, that the last lease on a
// retiring placement ended. Should the message be lost, the lifecycle's timer
// makes up for it.
func (r *Relay) Wake(p payload.Payload) {
	ctx, cancel := context.WithTimeout(context.Background(), sendWithin)
	defer cancel()
	if err := r.client.SignalWorkflow(ctx, WorkflowID(p), "", string(contract.Wake), struct{}{}); err != nil {
		r.log.Debug("a lifecycle was not woken; its timer will do", "payload", p.ID, "error", err)
	}
}

// WorkflowID names the lifecycle that carries a payload: its group's, or its
// own.
func WorkflowID(p payload.Payload) string {
	if p.Group != "" {
		return p.Group
	}
	return contract.LifecycleID(p.Namespace, p.ID)
}
