package sdk_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// lender grants a lease that is over soon, and collects what is asked of it.
type lender struct {
	asked    *payloadv1.AcquireRequest
	renewals chan *payloadv1.RenewRequest
	released chan []byte
}

// newLender answers renewals one by one, the last of them for ever.
func newLender(t *testing.T, remaining time.Duration, answers ...func() (*payloadv1.RenewResponse, error)) (*lender, *daemon) {
	l := &lender{renewals: make(chan *payloadv1.RenewRequest, 1000), released: make(chan []byte, 1)}
	d := &daemon{
		acquire: func(r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) {
			l.asked = r
			return &payloadv1.AcquireResponse{Lease: &payloadv1.Lease{
				Id: "lease 1", Holder: r.GetHolder(), Remaining: durationpb.New(remaining), Token: []byte("token"),
				At: &payloadv1.PlacementDescriptor{Id: r.GetId(), Tier: payloadv1.Tier_TIER_OBJECT, Url: "http://first"},
			}}, nil
		},
		renew: func(r *payloadv1.RenewRequest) (*payloadv1.RenewResponse, error) {
			answer := answers[0]
			answers = answers[min(1, len(answers)-1):]
			l.renewals <- r
			return answer()
		},
		release: func(r *payloadv1.ReleaseRequest) (*payloadv1.ReleaseResponse, error) {
			l.released <- r.GetToken()
			return &payloadv1.ReleaseResponse{}, nil
		},
	}
	return l, d.serve(t)
}

func renewed(remaining time.Duration, url string) func() (*payloadv1.RenewResponse, error) {
	return func() (*payloadv1.RenewResponse, error) {
		return &payloadv1.RenewResponse{Remaining: durationpb.New(remaining), Url: url}, nil
	}
}

func refused(err error) func() (*payloadv1.RenewResponse, error) {
	return func() (*payloadv1.RenewResponse, error) { return nil, err }
}

func TestAHoldRenewsItselfUntilItIsClosed(t *testing.T) {
	const soon = 20 * time.Millisecond
	l, d := newLender(t, soon, renewed(soon, "http://second"))

	hold, err := d.dial(t, sdk.As("trainer")).Hold(t.Context(), newID(t), sdk.LeaseFor(time.Minute), sdk.MinTier(payload.Disk), sdk.Wait())
	require.NoError(t, err)
	require.Equal(t, "trainer", l.asked.GetHolder())
	require.Equal(t, payloadv1.Tier_TIER_DISK, l.asked.GetMinTier())
	require.Equal(t, time.Minute, l.asked.GetDuration().AsDuration())
	require.True(t, l.asked.GetWait())

	for range 3 {
		renewal := <-l.renewals
		require.Equal(t, []byte("token"), renewal.GetToken())
		require.Equal(t, time.Minute, renewal.GetDuration().AsDuration())
	}
	require.NoError(t, hold.Err())
	require.Equal(t, "http://second", hold.Descriptor().URL, "an object's address is renewed with its lease")

	require.NoError(t, hold.Close())
	require.Equal(t, []byte("token"), <-l.released)
}

func TestARefusedRenewalIsToldToTheHolder(t *testing.T) {
	_, d := newLender(t, 20*time.Millisecond,
		renewed(time.Millisecond, ""),
		refused(refusal(codes.Aborted, "the placement retires", info("RETIRES", map[string]string{"code": "CONFLICT"}))))

	hold, err := d.dial(t).Hold(t.Context(), newID(t))
	require.NoError(t, err)

	<-hold.Lost()
	require.ErrorIs(t, hold.Err(), payload.Conflict)
	require.Equal(t, payload.Retires, payload.ReasonOf(hold.Err()))
	require.NoError(t, hold.Close())
}

func TestALeaseThatNobodyRenewsIsLostWhenItIsOver(t *testing.T) {
	down := refused(refusal(codes.Unavailable, "starting", info("UNAVAILABLE", map[string]string{"code": "UNAVAILABLE"})))
	l, d := newLender(t, 200*time.Millisecond, down)

	hold, err := d.dial(t).Hold(t.Context(), newID(t))
	require.NoError(t, err)

	<-hold.Lost()
	require.ErrorIs(t, hold.Err(), payload.Unavailable)
	require.False(t, time.Now().Before(hold.Until()), "not before it was over")
	require.NotEmpty(t, l.renewals, "and not without having tried")
	require.NoError(t, hold.Close())
}
