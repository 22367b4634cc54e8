package door

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// grpcCodes says how the codes that an open can come to appear in a frame, as
// they do at the façade.
var grpcCodes = map[payload.Code]codes.Code{
	payload.NotFound:    codes.NotFound,
	payload.Invalid:     codes.InvalidArgument,
	payload.Conflict:    codes.Aborted,
	payload.Busy:        codes.FailedPrecondition,
	payload.Exhausted:   codes.ResourceExhausted,
	payload.Expired:     codes.FailedPrecondition,
	payload.Lost:        codes.DataLoss,
	payload.Corrupt:     codes.DataLoss,
	payload.Denied:      codes.PermissionDenied,
	payload.Unsupported: codes.Unimplemented,
	payload.Unavailable: codes.Unavailable,
	payload.WrongHost:   codes.FailedPrecondition,
}

// refusal is an error as a client gets to see it. A defect of ours is logged
// here, once, and its cause goes no further.
func (d *Door) refusal(ctx context.Context, err error) *payloadv1.ItemError {
	known, ok := errors.AsType[*payload.Error](err)
	if errors.Is(err, context.DeadlineExceeded) {
		known, ok = payload.Errorf(payload.Unavailable, "opening took too long: try again").Retry(patience), true
	}
	code, usual := codes.Internal, false
	if ok {
		code, usual = grpcCodes[known.Code]
	}
	if !usual {
		d.log.ErrorContext(ctx, "an open failed for a reason that should not exist", "error", err)
		return &payloadv1.ItemError{
			GrpcCode: int32(codes.Internal), Reason: string(payload.Internal), Message: "a defect of the daemon; its log says more",
		}
	}
	item := &payloadv1.ItemError{GrpcCode: int32(code), Reason: string(known.Code), Message: message(known)}
	if known.Reason != "" {
		item.Reason = string(known.Reason)
	}
	if known.RetryAfter > 0 {
		item.RetryAfter = durationpb.New(known.RetryAfter)
	}
	return item
}

func message(err *payload.Error) string {
	if err.Err == nil {
		return string(err.Code)
	}
	return err.Err.Error()
}
