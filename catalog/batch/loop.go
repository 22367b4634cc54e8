// Package batch lets concurrent steps share one commit. A [Loop] gathers the
// steps that are waiting; a [Ledger] judges them, one after another, against
// the records they touch, so that a store loads once, writes once and commits
// once for all of them.
//
// It knows no database: how records are loaded and written is the store's.
package batch

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Most is the number of steps that share a commit at most. With some hundreds
// the commit's share in a step's cost is gone; more would only make the first
// caller wait for the last.
const Most = 256

// An Outcome is the answer to one step.
type Outcome struct {
	Payload payload.Payload
	Err     error
}

// A Loop carries out steps in batches, one batch at a time, on one goroutine.
// It sets no timer: a batch is what was waiting when the one before it was
// committed, so a lone caller waits for nobody.
//
// Where committing does not make durable, a second goroutine does: it syncs what
// has been committed, any number of batches at a time, and answers their
// callers, while the first is already busy with the next batch.
type Loop struct {
	carry    func([]catalog.Step) []Outcome
	sync     func() error // nil: carry makes durable
	queue    chan waiting
	unsynced chan answered
	syncing  atomic.Int64  // callers whose steps are being synced
	synced   chan struct{} // tells gather that a sync ended
	closing  chan struct{}
	done     chan struct{}
	close    sync.Once
}

// answered is a batch on its way to its callers.
type answered struct {
	batch    []waiting
	outcomes []Outcome
}

type waiting struct {
	ctx    context.Context
	step   catalog.Step
	answer chan Outcome
}

// Start returns a running loop. carry gets one to [Most] steps, commits or
// refuses them, and returns an outcome for each, in order. sync makes durable
// what was committed before it was called; nil says that carry did.
func Start(carry func([]catalog.Step) []Outcome, sync func() error) *Loop {
	l := &Loop{
		carry:    carry,
		sync:     sync,
		queue:    make(chan waiting, Most),
		unsynced: make(chan answered, ahead),
		synced:   make(chan struct{}, 1),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
	}
	go l.run()
	go l.settle()
	return l
}

// ahead is how many committed batches may wait for a sync. Callers wait for
// theirs, so that there are seldom more than one or two.
const ahead = 16

// Do hands the step to the loop and waits for its outcome. A caller whose
// context ends gets the context's error; its step may still be carried out.
func (l *Loop) Do(ctx context.Context, step catalog.Step) (payload.Payload, error) {
	if err := ctx.Err(); err != nil {
		return payload.Payload{}, err
	}
	w := waiting{ctx: ctx, step: step, answer: make(chan Outcome, 1)}
	select {
	case l.queue <- w:
	case <-ctx.Done():
		return payload.Payload{}, ctx.Err()
	case <-l.closing:
		return payload.Payload{}, Closed()
	}
	select {
	case o := <-w.answer:
		return o.Payload, o.Err
	case <-ctx.Done():
		return payload.Payload{}, ctx.Err()
	case <-l.done:
		return w.late()
	}
}

// late is the outcome of a step that was queued while the loop ended.
func (w waiting) late() (payload.Payload, error) {
	select {
	case o := <-w.answer:
		return o.Payload, o.Err
	default:
		return payload.Payload{}, Closed()
	}
}

// Closed is the error of a store that is shutting down.
func Closed() error {
	return payload.Errorf(payload.Unavailable, "the catalog is shutting down").Retry(time.Second)
}

// Close carries out what is queued and ends the loop. Closing twice does
// nothing.
func (l *Loop) Close() {
	l.close.Do(func() { close(l.closing) })
	<-l.done
}

func (l *Loop) run() {
	defer close(l.unsynced)
	for {
		select {
		case first := <-l.queue:
			l.serve(l.gather(first))
		case <-l.closing:
			l.drain()
			return
		}
	}
}

func (l *Loop) drain() {
	for {
		select {
		case first := <-l.queue:
			l.serve(l.gather(first))
		default:
			return
		}
	}
}

// gather takes what else is waiting. It yields as long as that makes the queue
// longer, so that the callers whose answers just went out can ask again and
// come along: a sync saved is worth more than the microseconds.
//
// During a sync it takes its time until as many have come as are being synced:
// a commit costs the same for one step as for many, and what it makes would
// have to wait for this sync to end anyway.
func (l *Loop) gather(first waiting) []waiting {
	for before := -1; len(l.queue) > before; {
		before = len(l.queue)
		runtime.Gosched()
	}
	batch := l.take(append(make([]waiting, 0, len(l.queue)+1), first))
	for len(batch) < Most && int64(len(batch)) < l.syncing.Load() {
		select {
		case next := <-l.queue:
			batch = l.take(append(batch, next))
		case <-l.synced:
		}
	}
	return batch
}

// take adds what is in the queue to the batch.
func (l *Loop) take(batch []waiting) []waiting {
	for len(batch) < Most {
		select {
		case next := <-l.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// serve carries out the steps whose callers still wait.
func (l *Loop) serve(batch []waiting) {
	present, steps := make([]waiting, 0, len(batch)), make([]catalog.Step, 0, len(batch))
	for _, w := range batch {
		if w.ctx.Err() == nil {
			present, steps = append(present, w), append(steps, w.step)
		}
	}
	if len(steps) == 0 {
		return
	}
	l.hand(answered{present, l.carry(steps)})
}

// hand answers at once what needs no sync, and leaves the rest to settle.
func (l *Loop) hand(a answered) {
	var rest answered
	if l.sync != nil {
		rest.batch, rest.outcomes = make([]waiting, 0, len(a.batch)), make([]Outcome, 0, len(a.batch))
	}
	for i, w := range a.batch {
		if l.sync == nil || w.step.Volatile || a.outcomes[i].Err != nil {
			w.answer <- a.outcomes[i]
			continue
		}
		rest.batch, rest.outcomes = append(rest.batch, w), append(rest.outcomes, a.outcomes[i])
	}
	if len(rest.batch) > 0 {
		l.unsynced <- rest
	}
}

// settle syncs and answers until the loop is closed.
func (l *Loop) settle() {
	defer close(l.done)
	for first := range l.unsynced {
		batches := l.committed(first)
		l.syncing.Store(callers(batches))
		err := l.sync()
		l.syncing.Store(0)
		select {
		case l.synced <- struct{}{}:
		default: // gather has yet to see the one before
		}
		for _, a := range batches {
			a.answer(err)
		}
	}
}

// committed takes every batch that the next sync makes durable.
func (l *Loop) committed(first answered) []answered {
	batches := []answered{first}
	for {
		select {
		case next, open := <-l.unsynced:
			if !open {
				return batches
			}
			batches = append(batches, next)
		default:
			return batches
		}
	}
}

func callers(batches []answered) (n int64) {
	for _, a := range batches {
		n += int64(len(a.batch))
	}
	return n
}

// answer gives the callers their outcomes; err says that they are not durable.
func (a answered) answer(err error) {
	for i, w := range a.batch {
		o := a.outcomes[i]
		if err != nil {
			o = Outcome{Err: payload.Wrap(w.step.Op, w.step.ID, err)}
		}
		w.answer <- o
	}
}

// Failed gives every step the same error, each with its own operation and
// subject: the database failed, and with it the batch.
func Failed(steps []catalog.Step, err error) []Outcome {
	outcomes := make([]Outcome, len(steps))
	for i, s := range steps {
		outcomes[i].Err = payload.Wrap(s.Op, s.ID, err)
	}
	return outcomes
}
