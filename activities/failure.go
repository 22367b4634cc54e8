package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// failure turns a payload's error into one that Temporal carries: its type is
// the code, its details a contract.Failure, and it is retried only where the
// code says that this may help, not sooner than the error asks for. A cancelled
// context stays what it is. A defect's message may hold a path or an address:
// it goes to this host's log, and the history learns that there is one.
func failure(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	known, ours := errors.AsType[*payload.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		known = payload.Errorf(payload.Unavailable, "not done in time")
	case !ours || known.Code == payload.Internal:
		activity.GetLogger(ctx).Error("an activity met a defect", "error", err)
		known = payload.Errorf(payload.Internal, "a defect: the log of the host that ran this says more")
	}
	return temporal.NewApplicationErrorWithOptions(message(known), string(known.Code), temporal.ApplicationErrorOptions{
		NonRetryable:   !contract.Retryable(known.Code),
		NextRetryDelay: known.RetryAfter,
		Details: []any{contract.Failure{
			Reason: known.Reason, Op: known.Op, ID: known.ID, Host: known.Host, RetryAfter: known.RetryAfter,
		}},
	})
}

// message is the error without what Temporal carries beside it.
func message(known *payload.Error) string {
	if known.Err == nil {
		return string(known.Code)
	}
	return known.Err.Error()
}
