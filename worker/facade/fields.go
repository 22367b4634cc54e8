package facade

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// fields reads a request field by field and keeps the first that is wrong. Its
// methods return the zero value for a field that is wrong.
type fields struct{ err error }

// A fieldError says which field of a request is wrong.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

func invalid(field, format string, args ...any) error {
	return misplaced(field, payload.Errorf(payload.Invalid, format, args...))
}

// misplaced adds the field to what is wrong with its content.
func misplaced(field string, err error) error {
	message := err
	if known, ok := err.(*payload.Error); ok {
		message = known.Err
	}
	return &payload.Error{Code: payload.Invalid, Err: &fieldError{field: field, err: message}}
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) check(field string, err error) {
	if err != nil {
		f.fail(misplaced(field, err))
	}
}

func (f *fields) id(field, text string) payload.ID {
	id, err := payload.ParseID(text)
	f.check(field, err)
	return id
}

// namespace reads a namespace where none means any.
func (f *fields) namespace(field, name string) string {
	if name != "" && name != payload.DefaultNamespace {
		f.check(field, payload.CheckNamespace(name))
	}
	return name
}

// name reads a text that only people read.
func (f *fields) name(field, text string) string {
	f.check(field, payload.CheckName(text))
	return text
}

// maxRequestID bounds what a client may use to recognise its own requests: a
// UUID or a trace id with room to spare.
const maxRequestID = 128 // bytes

func (f *fields) requestID(text string) string {
	printable := true
	for i := range len(text) {
		printable = printable && text[i] >= ' ' && text[i] <= '~'
	}
	if len(text) > maxRequestID || !printable {
		f.fail(invalid("request_id", "use at most %d printable ASCII characters", maxRequestID))
	}
	return text
}

func (f *fields) size(field string, size int64) int64 {
	if size < 0 || size > payload.MaxSize {
		f.fail(invalid(field, "a size is between 0 and %d bytes", payload.MaxSize))
	}
	return size
}

// duration reads what may be absent, which means 0.
func (f *fields) duration(field string, d *durationpb.Duration, most time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	span := d.AsDuration()
	if !d.IsValid() || span < 0 || span > most {
		f.fail(invalid(field, "a duration here is between 0 and %v", most))
		return 0
	}
	return span
}

// lease reads how long a lease is to hold.
func (f *fields) lease(field string, d *durationpb.Duration) time.Duration {
	if span := f.duration(field, d, payload.MaxLease); span != 0 {
		return span
	}
	return payload.DefaultLease
}

func (f *fields) checksum(field, text string) payload.Checksum {
	sum, err := payload.ParseChecksum(text)
	f.check(field, err)
	return sum
}

// maxToken is more than any token of ours, in bytes.
const maxToken = 256

func (f *fields) token(field string, token []byte) payload.Token {
	if len(token) == 0 || len(token) > maxToken {
		f.fail(invalid(field, "a token is what Allocate or Acquire answered, unchanged"))
	}
	return token
}

// tier reads a tier that has to be named.
func (f *fields) tier(field string, t payloadv1.Tier) payload.Tier {
	tier := f.anyTier(field, t)
	if tier == "" {
		f.fail(invalid(field, "name a tier: gpu, ram, disk or object"))
	}
	return tier
}

// anyTier reads a tier that may be left open.
func (f *fields) anyTier(field string, t payloadv1.Tier) payload.Tier {
	if t < 0 || int(t) >= len(tierWords) {
		f.fail(invalid(field, "tier %d is unknown", t))
		return ""
	}
	return tierWords[t]
}

func (f *fields) state(field string, s payloadv1.State) payload.State {
	if s <= 0 || int(s) >= len(stateWords) {
		f.fail(invalid(field, "state %d is unknown", s))
		return ""
	}
	return stateWords[s]
}

func (f *fields) lifecycle(field string, l payloadv1.Lifecycle) payload.LifecycleKind {
	if l < 0 || int(l) >= len(lifecycleWords) {
		f.fail(invalid(field, "lifecycle %d is unknown", l))
		return ""
	}
	return lifecycleWords[l]
}

// batch accepts between one item and payload.MaxBatch.
func (f *fields) batch(items int) {
	if items == 0 || items > payload.MaxBatch {
		f.fail(invalid("requests", "a batch holds 1 to %d items", payload.MaxBatch))
	}
}
