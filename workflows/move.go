package workflows

import (
	"errors"

	"github.com/dustin/go-humanize"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// moves are the copies under way, each shared by all who wait for it.
type moves struct {
	ctx   workflow.Context // ends when the payload is doomed
	stop  workflow.CancelFunc
	under map[contract.CopyInput]workflow.Future
}

func (m *moves) begin(ctx workflow.Context) {
	m.ctx, m.stop = workflow.WithCancel(ctx)
	m.under = map[contract.CopyInput]workflow.Future{}
}

// takeRequests lets callers ask for moves and wait for them.
func (l *life) takeRequests(ctx workflow.Context) error {
	return errors.Join(
		workflow.SetUpdateHandlerWithOptions(ctx, string(contract.Promote), l.promote, workflow.UpdateHandlerOptions{
			Description: "copy the payload into a faster tier of a host",
			Validator:   func(r contract.MoveRequest) error { return mayMove(l.ahead.State, r, payload.Object) },
		}),
		workflow.SetUpdateHandlerWithOptions(ctx, string(contract.Spill), l.spill, workflow.UpdateHandlerOptions{
			Description: "copy the payload into a slower tier, then give up the faster copies of that host",
			Validator:   func(r contract.MoveRequest) error { return mayMove(l.ahead.State, r, payload.GPU) },
		}),
	)
}

// mayMove refuses, before it enters the history, what can never succeed: a tier
// from which only the other direction leads, or a payload whose end is decided.
// Everything else the catalog judges when it is done, because what was seen
// last may be over: a payload that was allocated then may be committed now.
func mayMove(seen payload.State, r contract.MoveRequest, nowhere payload.Tier) error {
	_, err := payload.ParseTier(string(r.To))
	switch {
	case err != nil:
		return refusal(err)
	case r.To == nowhere:
		return refusal(payload.Errorf(payload.Invalid, "nothing moves to %s this way: promote goes up, spill goes down", r.To))
	case r.Host == "":
		return refusal(payload.Errorf(payload.Invalid, "a move names the host whose tier is meant"))
	case final(seen):
		return refusal(ended(seen))
	}
	return nil
}

// ended is what a payload whose end is decided answers.
func ended(state payload.State) error {
	switch state {
	case payload.StateExpired:
		return payload.Errorf(payload.Expired, "the payload's time to live is over")
	case payload.StateLost:
		return payload.Errorf(payload.Lost, "every copy of the payload vanished")
	default:
		return payload.Errorf(payload.NotFound, "the payload is %s", state)
	}
}

func (l *life) promote(ctx workflow.Context, r contract.MoveRequest) (contract.MoveResult, error) {
	defer l.ask()
	return l.copy(ctx, r)
}

func (l *life) spill(ctx workflow.Context, r contract.MoveRequest) (contract.MoveResult, error) {
	defer l.ask()
	copied, err := l.copy(ctx, r)
	if err != nil {
		return contract.MoveResult{}, err
	}
	var retired contract.MoveResult
	in := contract.RetireInput{ID: l.in.Target.ID, Faster: r.To, Host: r.Host}
	err = workflow.ExecuteActivity(retiring(l.moves.ctx, r.Host, "give up what is faster than "+string(r.To)), string(contract.Retire), in).Get(ctx, &retired)
	if err != nil {
		return contract.MoveResult{}, l.answer(err)
	}
	return contract.MoveResult{Version: retired.Version, Bytes: copied.Bytes}, nil
}

// ask makes the lifecycle look at what the move left behind.
func (l *life) ask() { l.asked = true }

// copy starts a copy, or joins the one to the same place that is under way.
func (l *life) copy(ctx workflow.Context, r contract.MoveRequest) (contract.MoveResult, error) {
	in := contract.CopyInput{ID: l.in.Target.ID, To: r.To, Host: r.Host}
	under, joined := l.moves.under[in]
	if !joined {
		under = workflow.ExecuteActivity(copying(l.moves.ctx, r.Host, l.journey(r.To)), string(contract.Copy), in)
		l.moves.under[in] = under
	}
	var got contract.MoveResult
	err := under.Get(ctx, &got)
	if l.moves.under[in] == under {
		delete(l.moves.under, in)
	}
	if err != nil {
		return contract.MoveResult{}, l.answer(err)
	}
	if !joined && got.Bytes > 0 {
		l.done.Moves++
	}
	return got, nil
}

// journey reads "copy ram → object, 512 MiB".
func (l *life) journey(to payload.Tier) string {
	size := humanize.IBytes(uint64(l.in.Size))
	from := contract.Fastest(l.ahead.Placements)
	if from == "" { // a request can come before the first look at the catalog
		from = payload.Tier(l.shown.tier)
	}
	if from != "" && from != to {
		return "copy " + string(from) + " → " + string(to) + ", " + size
	}
	return "copy to " + string(to) + ", " + size
}

// answer is what the caller of a move is told: the failure of the activity
// itself, without Temporal's wrapping.
func (l *life) answer(err error) error {
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return app
	}
	if temporal.IsCanceledError(err) && final(l.ahead.State) {
		return refusal(ended(l.ahead.State))
	}
	if temporal.IsCanceledError(err) {
		return refusal(payload.Errorf(payload.Unavailable, "the lifecycle was cancelled during the move"))
	}
	return refusal(payload.Errorf(payload.Unavailable, "the host does not take the work: it is down, or busy"))
}

// refusal is a payload's error as Temporal carries it: its code is the type.
func refusal(err error) error {
	message := err.Error()
	if known, ok := errors.AsType[*payload.Error](err); ok && known.Err != nil {
		message = known.Err.Error()
	}
	return temporal.NewApplicationErrorWithOptions(message, string(payload.CodeOf(err)), temporal.ApplicationErrorOptions{
		NonRetryable: true,
		Details:      []any{contract.Failure{Reason: payload.ReasonOf(err)}},
	})
}

// why names the code of an activity's failure, for people.
func why(err error) string {
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return app.Type()
	}
	if temporal.IsTimeoutError(err) {
		return "no answer"
	}
	return "interrupted"
}
