package sdk_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestAnAbsentDaemonIsNoticedByTheFirstCall(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	client, err := sdk.Dial(t.Context(), socket)
	require.NoError(t, err, "dialling does not connect")
	defer client.Close()

	_, err = client.Get(t.Context(), newID(t))

	require.ErrorIs(t, err, payload.Unavailable)
	require.ErrorContains(t, err, "no daemon listens at "+socket+": start one with `make run`, or set PAYLOAD_ADDRESS")
}

func TestErrorsArriveAsTheDaemonMeantThem(t *testing.T) {
	id := newID(t)
	for name, c := range map[string]struct {
		status  error
		want    payload.Error
		message string
	}{
		"a plain code": {
			status:  refusal(codes.NotFound, "no such payload", info("NOT_FOUND", map[string]string{"code": "NOT_FOUND", "op": "get"})),
			want:    payload.Error{Code: payload.NotFound, Op: "get"},
			message: "get: NOT_FOUND: no such payload",
		},
		"a reason and a subject": {
			status: refusal(codes.Aborted, "the version is 4, not 3",
				info("STALE_VERSION", map[string]string{"code": "CONFLICT", "op": "extend", "id": id.String()})),
			want:    payload.Error{Code: payload.Conflict, Reason: payload.StaleVersion, Op: "extend", ID: id},
			message: "extend " + id.String() + ": CONFLICT: the version is 4, not 3",
		},
		"a wait": {
			status: refusal(codes.ResourceExhausted, "ram is full",
				info("TIER_FULL", map[string]string{"code": "EXHAUSTED", "op": "allocate"}),
				&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)}),
			want:    payload.Error{Code: payload.Exhausted, Reason: payload.TierFull, Op: "allocate", RetryAfter: 3 * time.Second},
			message: "allocate: EXHAUSTED: ram is full",
		},
		"another host": {
			status:  refusal(codes.FailedPrecondition, "ask beta", info("WRONG_HOST", map[string]string{"code": "WRONG_HOST", "op": "acquire", "host": "beta"})),
			want:    payload.Error{Code: payload.WrongHost, Op: "acquire", Host: "beta"},
			message: "acquire: WRONG_HOST: ask beta",
		},
		"only a reason": {
			status:  refusal(codes.DataLoss, "gone", info("LOST", nil)),
			want:    payload.Error{Code: payload.Lost, Op: "get"},
			message: "get: LOST: gone",
		},
		"from somebody between": {
			status:  refusal(codes.PermissionDenied, "no", &errdetails.ErrorInfo{Domain: "proxy", Reason: "RULE"}),
			want:    payload.Error{Code: payload.Denied, Op: "get"},
			message: "get: DENIED: no",
		},
		"without a meaning": {
			status:  status.Error(codes.Unknown, "oops"),
			want:    payload.Error{Code: payload.Internal, Op: "get"},
			message: "get: INTERNAL: oops",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := (&daemon{get: func(*payloadv1.GetRequest) (*payloadv1.GetResponse, error) { return nil, c.status }}).serve(t)

			_, err := d.dial(t).Get(t.Context(), id)

			var got *payload.Error
			require.ErrorAs(t, err, &got)
			require.ErrorIs(t, err, c.want.Code)
			require.EqualError(t, err, c.message)
			got.Err = nil
			require.Equal(t, c.want, *got)
		})
	}
}

func TestACallThatADaemonDoesNotKnow(t *testing.T) {
	d := (&daemon{}).serve(t)
	_, err := d.dial(t).Stats(t.Context())
	require.ErrorIs(t, err, payload.Unsupported)
	require.ErrorContains(t, err, "older than this program")
}

func TestACallerWhoGivesUpLearnsThatItWasHim(t *testing.T) {
	ctx, giveUp := context.WithCancel(t.Context())
	d := (&daemon{resolve: func(ctx context.Context) (*payloadv1.ResolveResponse, error) {
		giveUp()
		<-ctx.Done()
		return nil, ctx.Err()
	}}).serve(t)

	_, err := d.dial(t).Resolve(ctx, newID(t))

	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, payload.Unavailable)
}

// busy is how a daemon asks for patience.
func busy(after time.Duration) error {
	return refusal(codes.Unavailable, "Temporal does not answer",
		info("UNAVAILABLE", map[string]string{"code": "UNAVAILABLE", "op": "delete"}),
		protoadapt.MessageV1(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)}))
}

func TestAChangeIsRepeatedAsItWas(t *testing.T) {
	id := newID(t)
	var requests []string
	d := (&daemon{remove: func(r *payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
		requests = append(requests, r.GetRequestId())
		if len(requests) < 3 {
			return nil, busy(time.Millisecond)
		}
		return &payloadv1.DeleteResponse{Payload: &payloadv1.Payload{Id: r.GetId(), State: payloadv1.State_STATE_DELETING}}, nil
	}}).serve(t)
	client := d.dial(t)

	p, err := client.Delete(t.Context(), id)

	require.NoError(t, err)
	require.Equal(t, payload.StateDeleting, p.State)
	require.Len(t, requests, 3)
	require.NotEmpty(t, requests[0])
	require.Len(t, slices.Compact(requests), 1, "one change, one request id")

	_, err = client.Delete(t.Context(), id)
	require.NoError(t, err)
	require.NotEqual(t, requests[0], requests[len(requests)-1], "another change, another id")
}

func TestACallIsNotRepeatedForEver(t *testing.T) {
	calls := 0
	d := (&daemon{remove: func(*payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
		calls++
		return nil, busy(time.Microsecond)
	}}).serve(t)

	_, err := d.dial(t).Delete(t.Context(), newID(t))

	require.ErrorIs(t, err, payload.Unavailable)
	require.Equal(t, 5, calls)
}

func TestAWaitThatTheDeadlineForbidsIsTheCallers(t *testing.T) {
	calls := 0
	d := (&daemon{remove: func(*payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
		calls++
		return nil, busy(24 * time.Hour)
	}}).serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()

	_, err := d.dial(t).Delete(ctx, newID(t))

	var known *payload.Error
	require.ErrorAs(t, err, &known)
	require.Equal(t, 24*time.Hour, known.RetryAfter)
	require.Equal(t, 1, calls)
}

func TestAChangeSurvivesABrokenConnection(t *testing.T) {
	var requests []string
	d := &daemon{}
	d.remove = func(r *payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
		requests = append(requests, r.GetRequestId())
		if len(requests) == 1 {
			d.drop()
		}
		return &payloadv1.DeleteResponse{Payload: &payloadv1.Payload{Id: r.GetId()}}, nil
	}

	_, err := d.serve(t).dial(t).Delete(t.Context(), newID(t))

	require.NoError(t, err)
	require.Len(t, requests, 2)
	require.Len(t, slices.Compact(requests), 1)
}

func TestChangesSayWhatTheirCallerAsked(t *testing.T) {
	var asked *payloadv1.DeleteRequest
	d := (&daemon{remove: func(r *payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
		asked = r
		return &payloadv1.DeleteResponse{Payload: &payloadv1.Payload{Id: r.GetId()}}, nil
	}}).serve(t)

	_, err := d.dial(t, sdk.InNamespace("camera")).Delete(t.Context(), newID(t), sdk.IfVersion(7), sdk.UntilFreed())

	require.NoError(t, err)
	require.Equal(t, "camera", asked.GetNamespace())
	require.EqualValues(t, 7, asked.GetExpectedVersion())
	require.True(t, asked.GetWait())
}

// library answers a listing of n payloads, two a page.
func library(ids []payload.ID) (*daemon, *[]string) {
	tokens := new([]string)
	return &daemon{list: func(r *payloadv1.ListRequest) (*payloadv1.ListResponse, error) {
		*tokens = append(*tokens, r.GetPageToken())
		first := slices.IndexFunc(ids, func(id payload.ID) bool { return id.String() == r.GetPageToken() }) + 1
		page := ids[first:min(first+2, len(ids))]
		answer := &payloadv1.ListResponse{}
		for _, id := range page {
			answer.Payloads = append(answer.Payloads, &payloadv1.Payload{Id: id.String()})
		}
		if first+2 < len(ids) {
			answer.NextPageToken = page[1].String()
		}
		return answer, nil
	}}, tokens
}

func TestAListingTurnsItsPages(t *testing.T) {
	ids := []payload.ID{newID(t), newID(t), newID(t), newID(t), newID(t)}
	d, tokens := library(ids)
	var seen []payload.ID

	for record, err := range d.serve(t).dial(t).List(t.Context(), sdk.Filter{}) {
		require.NoError(t, err)
		seen = append(seen, record.ID)
	}

	require.Equal(t, ids, seen)
	require.Equal(t, []string{"", ids[1].String(), ids[3].String()}, *tokens)
}

func TestAListingFetchesNoPageThatNobodyReads(t *testing.T) {
	d, tokens := library([]payload.ID{newID(t), newID(t), newID(t)})
	for range d.serve(t).dial(t).List(t.Context(), sdk.Filter{}) {
		break
	}
	require.Len(t, *tokens, 1)
}

func TestAListingEndsWithItsError(t *testing.T) {
	d := (&daemon{list: func(*payloadv1.ListRequest) (*payloadv1.ListResponse, error) {
		return nil, refusal(codes.InvalidArgument, "page_token: use the token of the page before", info("INVALID", map[string]string{"code": "INVALID"}))
	}}).serve(t)
	var errs []error
	for _, err := range d.dial(t).List(t.Context(), sdk.Filter{}) {
		errs = append(errs, err)
	}
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], payload.Invalid)
}

func TestWordsThatDoNotExistAreRefusedBeforeTheyTravel(t *testing.T) {
	client := (&daemon{}).serve(t).dial(t)
	_, err := client.Spill(t.Context(), newID(t), "tape")
	require.ErrorIs(t, err, payload.Invalid)
	_, err = client.Acquire(t.Context(), newID(t), sdk.MinTier("tape"))
	require.ErrorIs(t, err, payload.Invalid)
	for _, err := range client.List(t.Context(), sdk.Filter{States: []payload.State{"asleep"}}) {
		require.ErrorIs(t, err, payload.Invalid)
	}
}
