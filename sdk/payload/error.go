package payload

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Code says what kind of failure an [Error] is. It is the same in the
// catalog, in gRPC (google.rpc.ErrorInfo.reason) and in Temporal failures. A
// Code is itself an error, so that callers write
//
//	if errors.Is(err, payload.NotFound) { … }
type Code string

const (
	NotFound      Code = "NOT_FOUND"      // no such payload, placement, lease or host
	AlreadyExists Code = "ALREADY_EXISTS" // it is there already, with other content
	Invalid       Code = "INVALID"        // the request can never succeed as it is
	Conflict      Code = "CONFLICT"       // a fence did not hold: look again, then decide
	Busy          Code = "BUSY"           // leased, or still mapped by its writer
	Exhausted     Code = "EXHAUSTED"      // no room in the tier or the quota now
	Expired       Code = "EXPIRED"        // the payload, lease or token is past its time
	Lost          Code = "LOST"           // every placement vanished
	Corrupt       Code = "CORRUPT"        // bytes differ from their checksum
	Denied        Code = "DENIED"         // the caller may not
	Unsupported   Code = "UNSUPPORTED"    // this host, tier or build cannot
	Unavailable   Code = "UNAVAILABLE"    // a part is down: try again later
	WrongHost     Code = "WRONG_HOST"     // the bytes are on another host
	Internal      Code = "INTERNAL"       // a defect of ours
)

// Error returns the code's name.
func (c Code) Error() string { return string(c) }

// A Reason narrows a code down where a caller would act differently.
type Reason string

const (
	StillMapped  Reason = "STILL_MAPPED"  // Busy: the writer has not let go of the bytes
	StaleVersion Reason = "STALE_VERSION" // Conflict: expected_version is not the version
	RequestReuse Reason = "REQUEST_REUSE" // Conflict: this request_id came with another body
	NotCommitted Reason = "NOT_COMMITTED" // Conflict: the payload is not committed yet
	TierOff      Reason = "TIER_OFF"      // Unsupported: the tier is not configured on this host
	TierFull     Reason = "TIER_FULL"     // Exhausted: the tier's capacity is used up
	TooSlow      Reason = "TOO_SLOW"      // Conflict: no ready placement is in the tier asked for or a faster one
	Retires      Reason = "RETIRES"       // Conflict: the placement takes no leases and no renewals any more
)

// An Error is a failure: what kind, while doing what, to which payload. It is
// made once, at the boundary that knows all three. Messages say what was wrong
// and what to do next; they never hold a path, a handle, a URL or a token.
type Error struct {
	Code       Code
	Reason     Reason        // optional
	Op         string        // "commit"
	ID         ID            // optional: the payload
	Host       string        // for WrongHost: who has it
	RetryAfter time.Duration // optional: when a repeat makes sense
	Err        error         // the cause, or the message
}

// Errorf makes an Error of one code with a message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Wrap adds operation and subject to err where it has none, and keeps its
// code. A nil err stays nil.
func Wrap(op string, id ID, err error) error {
	if err == nil {
		return nil
	}
	wrapped := Error{Code: CodeOf(err), Err: err}
	if known, ok := errors.AsType[*Error](err); ok {
		wrapped = *known
	}
	if wrapped.Op == "" {
		wrapped.Op = op
	}
	if wrapped.ID.IsZero() {
		wrapped.ID = id
	}
	return &wrapped
}

// Because returns a copy of e that carries reason.
func (e *Error) Because(reason Reason) *Error {
	narrowed := *e
	narrowed.Reason = reason
	return &narrowed
}

// Retry returns a copy of e that asks to be repeated after the wait.
func (e *Error) Retry(after time.Duration) *Error {
	patient := *e
	patient.RetryAfter = after
	return &patient
}

// Error reads "commit 0197…: CONFLICT: the version is 4, not 3".
func (e *Error) Error() string {
	text := string(e.Code)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	switch {
	case e.Op == "":
		return text
	case e.ID.IsZero():
		return e.Op + ": " + text
	default:
		return e.Op + " " + e.ID.String() + ": " + text
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is e's code.
func (e *Error) Is(target error) bool { return target == e.Code }

// CodeOf returns the code of the first Error in err's chain: "" for nil,
// [Unavailable] for a context that ended, and [Internal] for an error that
// carries none.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Code
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Unavailable
	}
	return Internal
}

// ReasonOf returns the reason of the first Error in err's chain, if any.
func ReasonOf(err error) Reason {
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Reason
	}
	return ""
}

// clip shortens a caller's text before it goes into a message.
func clip(text string) string {
	const longest = 40
	if len(text) > longest {
		return text[:longest] + "…"
	}
	return text
}
