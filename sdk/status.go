package sdk

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

// bare judges a status that the daemon did not explain.
func (c *Client) bare(s *status.Status) *payload.Error {
	switch s.Code() {
	case codes.DeadlineExceeded:
		return payload.Errorf(payload.Unavailable, "no answer came in time: %w", context.DeadlineExceeded)
	case codes.Canceled:
		return payload.Errorf(payload.Unavailable, "the call was given up: %w", context.Canceled)
	case codes.Unimplemented:
		return payload.Errorf(payload.Unsupported, "the daemon does not know this call: it is older than this program, update it")
	case codes.Unavailable:
		return c.unavailable()
	}
	code, listed := bareCodes[s.Code()]
	if !listed {
		code = payload.Internal
	}
	return &payload.Error{Code: code, Err: errors.New(s.Message())}
}

func (c *Client) unavailable() *payload.Error {
	if c.unreached.Load() {
		return payload.Errorf(payload.Unavailable, "no daemon listens at %s: start one with `make run`, or set %s", c.address.at, AddressVariable)
	}
	return &payload.Error{Code: payload.Unavailable, Err: fmt.Errorf("%w: try again", errBroken)}
}
