package relay

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

// isUnavailable reports whether Temporal could not be reached, is starting, or
// is too busy to answer.
func isUnavailable(err error) bool {
	if _, ok := errors.AsType[*serviceerror.Unavailable](err); ok {
		return true
	}
	if _, ok := errors.AsType[*serviceerror.ResourceExhausted](err); ok {
		return true
	}
	return status.Code(err) == codes.Unavailable
}
