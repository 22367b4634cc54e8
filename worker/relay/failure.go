package relay

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// refusal turns what Temporal answered into a payload's error: the inverse of
// what workflows and activities make of one.
func refusal(err error) error {
	app, ok := errors.AsType[*temporal.ApplicationError](err)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case !ok:
		// The cause stays here: it may name a server's address.
		return payload.Errorf(payload.Unavailable, "Temporal did not carry the move out: try again").Retry(retryMove)
	}
	var detail contract.Failure
	if app.HasDetails() {
		_ = app.Details(&detail) // what cannot be read stays empty; the code is known
	}
	return &payload.Error{
		Code: payload.Code(app.Type()), Reason: detail.Reason, Op: detail.Op, ID: detail.ID, Host: detail.Host,
		RetryAfter: detail.RetryAfter, Err: errors.New(app.Message()),
	}
}

// acceptedThenClosed is the type of the failure by which Temporal says that a
// workflow took an Update and ended, or continued as new, before it answered.
const acceptedThenClosed = "AcceptedUpdateCompletedWorkflow"

// goesAgain reports whether a move is worth asking for once more: Temporal could
// not be reached, is starting or too busy to answer, or the lifecycle ended
// under the request.
func goesAgain(err error) bool {
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return app.Type() == acceptedThenClosed
	}
	switch serviceerror.ToStatus(err).Code() {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return true
	}
	return false
}
