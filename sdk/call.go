package sdk

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// maxAttempts bounds the repeats of a call whose context has no deadline.
const maxAttempts = 5

// call carries out one unary call: it repeats the call as long as the daemon
// says that it makes sense and the deadline leaves time, and turns its status
// into a *payload.Error. The request is the same every time, its request_id
// included.
func (c *Client) call(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	op := strings.ToLower(path.Base(method))
	for attempt := 1; ; attempt++ {
		awaken(ctx, conn)
		err := invoke(ctx, method, request, answer, conn, options...)
		if err == nil {
			return nil
		}
		known := c.failure(op, err)
		pause, again := repeats(known, attempt)
		if !again || !rest(ctx, pause) {
			return known
		}
	}
}

// dialing is how long a call waits to see a connection that had failed try
// again. A local socket answers within a millisecond, or is not there.
const dialing = 100 * time.Millisecond

// awaken has a connection that failed before try again now rather than when its
// back-off is over: a daemon that has just been restarted answers the first
// call.
func awaken(ctx context.Context, conn *grpc.ClientConn) {
	if conn.GetState() != connectivity.TransientFailure {
		return
	}
	conn.ResetConnectBackoff()
	ctx, cancel := context.WithTimeout(ctx, dialing)
	defer cancel()
	conn.WaitForStateChange(ctx, connectivity.TransientFailure)
}

// repeats says whether the attempt is worth another one, and after how long.
// The pause doubles, because others were told to wait as well.
func repeats(err *payload.Error, attempt int) (time.Duration, bool) {
	switch {
	case err.Code != payload.Unavailable || attempt == maxAttempts:
		return 0, false
	case errors.Is(err, errBroken):
		return 0, attempt == 1 // the next attempt connects anew
	default:
		return err.RetryAfter << (attempt - 1), err.RetryAfter > 0
	}
}

// rest waits, unless the context would end before.
func rest(ctx context.Context, pause time.Duration) bool {
	if deadline, bounded := ctx.Deadline(); bounded && time.Until(deadline) <= pause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
