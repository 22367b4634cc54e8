package contract

import (
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Failure is the detail of every Temporal failure that stands for a
// *payload.Error, so that the error survives the way through a history. The
// failure's type is the error's code.
type Failure struct {
	Reason     payload.Reason `json:"reason,omitempty"`
	Op         string         `json:"op,omitempty"`
	ID         payload.ID     `json:"id,omitzero"`
	Host       string         `json:"host,omitempty"`
	RetryAfter time.Duration  `json:"retry_after,omitempty"`
}

// Retryable reports whether doing the same again may succeed without anybody
// looking first.
func Retryable(code payload.Code) bool {
	return code == payload.Unavailable || code == payload.Busy
}
