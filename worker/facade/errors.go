package facade

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// domain is google.rpc.ErrorInfo's: whose reasons these are.
const domain = "payload-manager"

// grpcCodes says how each code appears in gRPC.
var grpcCodes = map[payload.Code]codes.Code{
	payload.NotFound:      codes.NotFound,
	payload.AlreadyExists: codes.AlreadyExists,
	payload.Invalid:       codes.InvalidArgument,
	payload.Conflict:      codes.Aborted,
	payload.Busy:          codes.FailedPrecondition,
	payload.Exhausted:     codes.ResourceExhausted,
	payload.Expired:       codes.FailedPrecondition,
	payload.Lost:          codes.DataLoss,
	payload.Corrupt:       codes.DataLoss,
	payload.Denied:        codes.PermissionDenied,
	payload.Unsupported:   codes.Unimplemented,
	payload.Unavailable:   codes.Unavailable,
	payload.WrongHost:     codes.FailedPrecondition,
	payload.Internal:      codes.Internal,
}

// unmet are the conflicts that a repeat alone cannot resolve: something else
// has to happen first.
var unmet = map[payload.Reason]bool{payload.NotCommitted: true, payload.TooSlow: true, noHello: true}

// A failure is an error as a client gets to see it.
type failure struct {
	code    codes.Code
	message string
	known   *payload.Error // nil: the caller gave up, and there is nothing to add
}

// failed judges err, the error of the operation that ctx carried. A defect of
// ours is logged here, once, and its cause goes no further.
func (f *Facade) failed(ctx context.Context, op string, err error) failure {
	known := called(op, err)
	if unexplained(known) {
		if gaveUp, ok := abandoned(ctx, err); ok {
			return gaveUp
		}
		known = shuttingDown(op)
	}
	if known.Code == payload.Internal {
		f.log.ErrorContext(ctx, "a call failed for a reason that should not exist", "op", op, "payload", known.ID, "error", err)
		return failure{code: codes.Internal, known: known, message: "a defect of the daemon; its log says more"}
	}
	return failure{code: grpcCode(known), known: known, message: message(known)}
}

// called returns err under the name of what the client called, whichever of
// the steps behind it failed.
func called(op string, err error) *payload.Error {
	known := payload.Error{Code: payload.Internal, Err: err}
	if judged, ok := errors.AsType[*payload.Error](err); ok {
		known = *judged
	}
	known.Op = op
	return &known
}

// unexplained reports whether all that is known of err is that a context ended.
// Who knows more, such as that Temporal cannot be reached, says when to retry.
func unexplained(err *payload.Error) bool {
	bare := err.Code == payload.Internal || err.Code == payload.Unavailable && err.RetryAfter == 0
	return bare && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// abandoned recognises a call that ended because its caller went or its time
// was over.
func abandoned(ctx context.Context, err error) (failure, bool) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return failure{code: codes.DeadlineExceeded, message: "the deadline came before the answer"}, true
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return failure{code: codes.Canceled, message: "the call was cancelled"}, true
	default:
		return failure{}, false
	}
}

// shuttingDown is what becomes of calls that the daemon itself breaks off.
func shuttingDown(op string) *payload.Error {
	err := payload.Errorf(payload.Unavailable, "the daemon is shutting down: try again").Retry(restart)
	err.Op = op
	return err
}

func grpcCode(err *payload.Error) codes.Code {
	if err.Code == payload.Conflict && unmet[err.Reason] {
		return codes.FailedPrecondition
	}
	if code, known := grpcCodes[err.Code]; known {
		return code
	}
	return codes.Unknown
}

// message is what was wrong, without what the details repeat.
func message(err *payload.Error) string {
	if err.Err == nil {
		return string(err.Code)
	}
	return err.Err.Error()
}

// reason is ErrorInfo's: as narrow as it is known.
func reason(err *payload.Error) string {
	if err.Reason != "" {
		return string(err.Reason)
	}
	return string(err.Code)
}

// status is the failure of a whole call.
func (f *Facade) status(ctx context.Context, op string, err error) error {
	if ofGRPC(err) {
		return err
	}
	failed := f.failed(ctx, op, err)
	s := status.New(failed.code, failed.message)
	if failed.known == nil {
		return s.Err()
	}
	detailed, err := s.WithDetails(f.details(ctx, failed)...)
	if err != nil {
		return s.Err() // the details could not be written; the code stands
	}
	return detailed.Err()
}

// ofGRPC recognises gRPC's own errors, such as that of a broken stream.
func ofGRPC(err error) bool {
	if _, ours := errors.AsType[*payload.Error](err); ours {
		return false
	}
	_, is := status.FromError(err)
	return is
}

func (f *Facade) details(ctx context.Context, failed failure) []protoadapt.MessageV1 {
	err := failed.known
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Domain: domain, Reason: reason(err), Metadata: f.metadata(ctx, err)}}
	if err.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(err.RetryAfter)})
	}
	switch err.Code {
	case payload.Invalid:
		details = append(details, badRequest(err))
	case payload.Busy:
		details = append(details, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: reason(err), Subject: subject(err), Description: failed.message},
		}})
	}
	return details
}

func (f *Facade) metadata(ctx context.Context, err *payload.Error) map[string]string {
	metadata := map[string]string{"code": string(err.Code), "op": err.Op}
	if id := subject(err); id != "" {
		metadata["id"] = id
	}
	if err.Host != "" {
		metadata["host"] = err.Host
		if address := f.address(ctx, err.Host); address != "" {
			metadata["address"] = address
		}
	}
	return metadata
}

// address is where a host is reached, as far as the catalog can say now.
func (f *Facade) address(ctx context.Context, name string) string {
	hosts, err := f.catalog.Hosts(ctx)
	if err != nil {
		return "" // the name alone has to do
	}
	for _, h := range hosts {
		if h.Name == name {
			return h.Address
		}
	}
	return ""
}

func subject(err *payload.Error) string {
	if err.ID.IsZero() {
		return ""
	}
	return err.ID.String()
}

func badRequest(err *payload.Error) *errdetails.BadRequest {
	violation := &errdetails.BadRequest_FieldViolation{Description: message(err)}
	if wrong, ok := errors.AsType[*fieldError](err); ok {
		violation.Field, violation.Description = wrong.field, wrong.err.Error()
	}
	return &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}}
}

// itemError is the failure of one item among others, and nil for none.
func (f *Facade) itemError(ctx context.Context, op string, err error) *payloadv1.ItemError {
	if err == nil {
		return nil
	}
	failed := f.failed(ctx, op, err)
	item := &payloadv1.ItemError{GrpcCode: int32(failed.code), Message: failed.message}
	if known := failed.known; known != nil {
		item.Reason, item.RetryAfter = reason(known), span(known.RetryAfter)
		item.Code, item.Id, item.Host = string(known.Code), subject(known), known.Host
		if known.Host != "" {
			item.Address = f.address(ctx, known.Host)
		}
	}
	return item
}

// guard does one thing and turns a panic into a defect that is reported like
// any other error.
func guard[T any](do func() (T, error)) (answer T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return do()
}

func panicked(p any) error { return payload.Errorf(payload.Internal, "panic: %s", fmt.Sprint(p)) }
