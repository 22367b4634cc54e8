package access

import (
	"errors"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// reasons says which code each reason narrows: the wire names only the reason
// where there is one.
var reasons = map[payload.Reason]payload.Code{
	payload.StillMapped:  payload.Busy,
	payload.StaleVersion: payload.Conflict,
	payload.RequestReuse: payload.Conflict,
	payload.NotCommitted: payload.Conflict,
	payload.TooSlow:      payload.Conflict,
	payload.Retires:      payload.Conflict,
	payload.TierOff:      payload.Unsupported,
	payload.TierFull:     payload.Exhausted,
}

// failure reads an error as it stands in a frame.
func failure(item *payloadv1.ItemError) *payload.Error {
	err := &payload.Error{
		Code:       payload.Code(item.GetReason()),
		RetryAfter: item.GetRetryAfter().AsDuration(),
		Err:        errors.New(item.GetMessage()),
	}
	if code, narrowed := reasons[payload.Reason(item.GetReason())]; narrowed {
		err.Code, err.Reason = code, payload.Reason(item.GetReason())
	}
	if err.Code == "" {
		err.Code = payload.Internal
	}
	return err
}
