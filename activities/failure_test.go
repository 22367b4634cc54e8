package activities

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestFailure(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		code      payload.Code
		retryable bool
		after     time.Duration
	}{
		"away":        {payload.Errorf(payload.Unavailable, "the database is away").Retry(time.Minute), payload.Unavailable, true, time.Minute},
		"busy":        {payload.Errorf(payload.Busy, "a lease"), payload.Busy, true, 0},
		"full":        {payload.Errorf(payload.Exhausted, "no room").Because(payload.TierFull), payload.Exhausted, false, 0},
		"wrong bytes": {payload.Wrap("copy", payload.ID{}, payload.Errorf(payload.Corrupt, "they differ")), payload.Corrupt, false, 0},
		"too late":    {payload.Wrap("copy", payload.ID{}, context.DeadlineExceeded), payload.Unavailable, true, 0},
		"a defect":    {errors.New("open /secret/path: oh"), payload.Internal, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			err := through(c.err)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, string(c.code), failed.Type())
			require.Equal(t, c.retryable, !failed.NonRetryable())
			require.Equal(t, c.after, failed.NextRetryDelay())
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, failed.Message(), string(c.code), "the type says it")
		})
	}
	require.NoError(t, failure(t.Context(), nil))
	require.ErrorIs(t, failure(t.Context(), context.Canceled), context.Canceled)
}

// through lets an activity fail with err.
func through(err error) error {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivityWithOptions(func(ctx context.Context) error { return failure(ctx, err) }, activity.RegisterOptions{Name: "fail"})
	_, failed := env.ExecuteActivity("fail")
	return failed
}
