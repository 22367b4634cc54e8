package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Lifecycle carries one payload from its allocation to its tombstone, and moves
// it when asked to. For a payload that a group carries it carries out the moves
// and ends. It fails only when it is cancelled or terminated.
func Lifecycle(ctx workflow.Context, in contract.LifecycleInput) (contract.LifecycleResult, error) {
	l := begin(ctx, in)
	if err := l.takeRequests(ctx); err != nil {
		return contract.LifecycleResult{}, err
	}
	return l.run(ctx, contract.Lifecycle)
}

// GroupLifecycle does the same for every payload that the catalog counts to the
// group, but takes no requests: a payload that is to move gets a [Lifecycle] of
// its own for as long as the move takes.
func GroupLifecycle(ctx workflow.Context, in contract.LifecycleInput) (contract.LifecycleResult, error) {
	return begin(ctx, in).run(ctx, contract.GroupLifecycle)
}

// A life is one run of a lifecycle. Nothing in it outlives a look at the
// catalog except counts.
type life struct {
	sight
	in    contract.LifecycleInput
	done  contract.LifecycleResult
	wakes workflow.ReceiveChannel
	asked bool // a move ended: look again
	moves moves
	shown shown
}

func begin(ctx workflow.Context, in contract.LifecycleInput) *life {
	l := &life{in: in, done: in.Carried, wakes: workflow.GetSignalChannel(ctx, string(contract.Wake))}
	l.group = in.Target.Group != ""
	l.woken = workflow.Now(ctx)
	l.shown.begin(ctx)
	l.moves.begin(ctx)
	return l
}

// run is the sentence: tend, then do what comes next, until nothing does.
func (l *life) run(ctx workflow.Context, self contract.Workflow[contract.LifecycleInput, contract.LifecycleResult]) (contract.LifecycleResult, error) {
	l.gather(ctx)
	for l.tend(ctx); ctx.Err() == nil; {
		next := decide(l.sight, workflow.Now(ctx))
		if err := l.show(ctx, next); err != nil {
			return l.done, err
		}
		switch next.do {
		case finish:
			if l.over(ctx) {
				return l.done, nil
			}
			l.tend(ctx)
		case reap:
			l.reap(ctx, next.hosts)
		case sleep:
			if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
				return l.done, l.continued(ctx, self)
			}
			l.sleep(ctx, next)
			l.tend(ctx)
		}
	}
	return l.done, ctx.Err()
}

// over reports whether the lifecycle may end: no request is being answered, and
// nobody woke it since it looked.
func (l *life) over(ctx workflow.Context) bool {
	if !workflow.AllHandlersFinished(ctx) {
		l.settle(ctx)
		return false
	}
	return !l.drain(ctx)
}

// settle waits until every request is answered.
func (l *life) settle(ctx workflow.Context) {
	_ = workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }) // its error is ctx's, which run sees
}

// continued starts the lifecycle anew with a short history. Signals are drained
// last, with nothing in between that yields: the new run looks at the catalog
// before anything else, so it needs none of them.
func (l *life) continued(ctx workflow.Context, self contract.Workflow[contract.LifecycleInput, contract.LifecycleResult]) error {
	l.settle(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	in := l.in
	in.Carried = l.done
	l.drain(ctx)
	return workflow.NewContinueAsNewError(ctx, string(self), in)
}

// sleep ends at the decided time, with a signal, or after a move.
func (l *life) sleep(ctx workflow.Context, n next) {
	if l.idle++; !n.vain || l.freed {
		l.idle = 0
	}
	rested := func() bool { return l.asked || l.wakes.Len() > 0 }
	if n.until.IsZero() {
		_ = workflow.Await(ctx, rested)
	} else {
		_, _ = workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
			Timeout:      until(workflow.Now(ctx), n.until),
			TimerOptions: workflow.TimerOptions{Summary: n.why},
		}, rested)
	}
	l.gather(ctx)
}

// gather takes in what woke the lifecycle. A group waits a moment more, because
// its payloads become members after it was told of them, and because many wakes
// then cost one round.
func (l *life) gather(ctx workflow.Context) {
	if l.drain(ctx) && l.group {
		pause := workflow.NewTimerWithOptions(ctx, tick, workflow.TimerOptions{Summary: "for its payloads to join"})
		_ = pause.Get(ctx, nil) // its error is ctx's, which run sees
		l.drain(ctx)
	}
}

// until is how long a timer has to run. It is rounded up to a millisecond, to
// which Temporal rounds down, so that nothing is looked at too early in vain.
func until(now, then time.Time) time.Duration {
	return then.Sub(now).Truncate(time.Millisecond) + time.Millisecond
}

// drain takes all signals: one look at the catalog answers them all.
func (l *life) drain(ctx workflow.Context) (any bool) {
	for l.wakes.ReceiveAsync(nil) {
		any = true
	}
	if any {
		l.woken = workflow.Now(ctx)
	}
	return any
}

// tend begins a round with a fresh look at the catalog.
func (l *life) tend(ctx workflow.Context) {
	l.rested()
	got, err := locally(tending(ctx), contract.Tend, l.in.Target)
	if err != nil {
		l.blind = "the catalog cannot be read (" + why(err) + ")"
		return
	}
	l.learn(got)
}

// rested forgets the round before.
func (l *life) rested() {
	l.sight = sight{group: l.group, woken: l.woken, ahead: l.ahead, idle: l.idle}
	l.asked = false
}

// reap does on every host what is due there, on all at a time.
func (l *life) reap(ctx workflow.Context, hosts []string) {
	var answers []workflow.Future
	for _, host := range hosts {
		l.tried = append(l.tried, host)
		answers = append(answers, workflow.ExecuteActivity(reaping(ctx, host), string(contract.Reap), l.in.Target))
	}
	for i, answer := range answers {
		var got contract.Reaped
		if err := answer.Get(ctx, &got); err != nil {
			l.trouble = hosts[i] + " does not free (" + why(err) + ")"
			continue
		}
		l.learn(got)
	}
}

// learn takes in what a host did and saw.
func (l *life) learn(got contract.Reaped) {
	l.ahead = got.Ahead
	l.done.State = got.Ahead.State
	l.done.Freed, l.done.Bytes = l.done.Freed+got.Freed, l.done.Bytes+got.Bytes
	if got.Host != "" {
		l.tried = append(l.tried, got.Host)
	}
	l.freed = l.freed || got.Freed > 0
	if got.Failed > 0 {
		l.trouble = count(got.Failed, "payload") + " could not be freed"
	}
	if got.Waiting > 0 {
		if l.waiting == 0 || got.Until.Before(l.until) {
			l.until = got.Until
		}
		l.waiting, l.leases = l.waiting+got.Waiting, l.leases+got.Leases
	}
	if final(got.Ahead.State) {
		l.moves.stop()
	}
}

// final reports whether nobody can move the payload any more.
func final(state payload.State) bool { return state.Doomed() || state.Final() }

func locally[In, Out any](ctx workflow.Context, a contract.Activity[In, Out], in In) (out Out, err error) {
	err = workflow.ExecuteLocalActivity(ctx, string(a), in).Get(ctx, &out)
	return out, err
}
