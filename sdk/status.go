package sdk

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// domain is google.rpc.ErrorInfo's of the daemon's own errors.
const domain = "payload-manager"

// errBroken is the cause of calls whose connection ended under them.
var errBroken = errors.New("the connection to the daemon broke")

// bareCodes are the codes of statuses that gRPC itself or a stranger on the way
// made: those of the daemon say their code.
var bareCodes = map[codes.Code]payload.Code{
	codes.NotFound:           payload.NotFound,
	codes.AlreadyExists:      payload.AlreadyExists,
	codes.InvalidArgument:    payload.Invalid,
	codes.OutOfRange:         payload.Invalid,
	codes.Aborted:            payload.Conflict,
	codes.FailedPrecondition: payload.Conflict,
	codes.ResourceExhausted:  payload.Exhausted,
	codes.DataLoss:           payload.Corrupt,
	codes.PermissionDenied:   payload.Denied,
	codes.Unauthenticated:    payload.Denied,
	codes.Unimplemented:      payload.Unsupported,
	codes.Unavailable:        payload.Unavailable,
}

// failure reads the status of a call.
func (c *Client) failure(op string, err error) *payload.Error {
	s := status.Convert(err)
	known := told(s)
	if known == nil {
		known = c.bare(s)
	}
	if known.Op == "" {
		known.Op = op
	}
	return known
}

// told reads the error that the daemon wrote into a status, and is nil where
// there is none.
func told(s *status.Status) *payload.Error {
	var known *payload.Error
	var retry *errdetails.RetryInfo
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				known = fromInfo(d, s.Message())
			}
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	if known != nil && retry != nil {
		known.RetryAfter = retry.GetRetryDelay().AsDuration()
	}
	return known
}

func fromInfo(info *errdetails.ErrorInfo, message string) *payload.Error {
	facts := info.GetMetadata()
	known := &payload.Error{Code: payload.Code(facts["code"]), Op: facts["op"], Host: facts["host"], Err: errors.New(message)}
	if known.Code == "" {
		known.Code = payload.Code(info.GetReason())
	}
	if reason := info.GetReason(); reason != string(known.Code) {
		known.Reason = payload.Reason(reason)
	}
	if id, err := payload.ParseID(facts["id"]); err == nil {
		known.ID = id
	}
	return known
}

// itemFailure reads an error as it stands in a frame.
func itemFailure(item *payloadv1.ItemError) *payload.Error {
	code := payload.Code(item.GetCode())
	if code == "" { // the daemon added nothing to what gRPC says
		return bareItem(item)
	}
	known := &payload.Error{Code: code, Host: item.GetHost(), RetryAfter: item.GetRetryAfter().AsDuration(), Err: errors.New(item.GetMessage())}
	if reason := item.GetReason(); reason != item.GetCode() {
		known.Reason = payload.Reason(reason)
	}
	if id, err := payload.ParseID(item.GetId()); err == nil {
		known.ID = id
	}
	return known
}

func bareItem(item *payloadv1.ItemError) *payload.Error {
	switch code := codes.Code(item.GetGrpcCode()); code {
	case codes.DeadlineExceeded:
		return givenUp(context.DeadlineExceeded)
	case codes.Canceled:
		return givenUp(context.Canceled)
	default:
		return &payload.Error{Code: bareCode(code), Err: errors.New(item.GetMessage())}
	}
}

func bareCode(code codes.Code) payload.Code {
	if known, listed := bareCodes[code]; listed {
		return known
	}
	return payload.Internal
}

// bare judges a status that the daemon did not explain.
func (c *Client) bare(s *status.Status) *payload.Error {
	switch s.Code() {
	case codes.DeadlineExceeded:
		return givenUp(context.DeadlineExceeded)
	case codes.Canceled:
		return givenUp(context.Canceled)
	case codes.Unimplemented:
		return payload.Errorf(payload.Unsupported, "the daemon does not know this call: it is older than this program, update it")
	case codes.Unavailable:
		return c.unavailable()
	}
	return &payload.Error{Code: bareCode(s.Code()), Err: errors.New(s.Message())}
}

func (c *Client) unavailable() *payload.Error {
	if c.unreached.Load() {
		return payload.Errorf(payload.Unavailable, "no daemon listens at %s: start one with `make run`, or set %s", c.address.at, AddressVariable)
	}
	return &payload.Error{Code: payload.Unavailable, Err: fmt.Errorf("%w: try again", errBroken)}
}
