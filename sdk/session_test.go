package sdk_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// welcome answers a greeting.
func welcome(s sessionServer, id string) (*payloadv1.SessionRequest_Hello, error) {
	first, err := s.Recv()
	if err != nil {
		return nil, err
	}
	return first.GetHello(), s.Send(&payloadv1.SessionResponse{Response: &payloadv1.SessionResponse_Welcome_{
		Welcome: &payloadv1.SessionResponse_Welcome{SessionId: id},
	}})
}

// until a client hangs up or says that it is done, answer gets its frames.
func until(s sessionServer, answer func(*payloadv1.SessionRequest) *payloadv1.SessionResponse) error {
	for {
		f, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if said := answer(f); said != nil {
			said.Seq = f.GetSeq()
			if err := s.Send(said); err != nil {
				return err
			}
		}
	}
}

func silent(*payloadv1.SessionRequest) *payloadv1.SessionResponse { return nil }

func grant(r *payloadv1.AcquireRequest) *payloadv1.AcquireResponse {
	return &payloadv1.AcquireResponse{Lease: &payloadv1.Lease{
		Remaining: durationpb.New(time.Hour), Token: []byte("token"), At: &payloadv1.PlacementDescriptor{Id: r.GetId()},
	}}
}

func resolved(id string) *payloadv1.ResolveResponse {
	return &payloadv1.ResolveResponse{Best: &payloadv1.PlacementDescriptor{Id: id}}
}

func TestALeaseThatComesTooLateIsGivenBack(t *testing.T) {
	asked, goOn, released := make(chan struct{}), make(chan struct{}), make(chan []byte, 1)
	d := (&daemon{session: func(s sessionServer) error {
		if _, err := welcome(s, "one"); err != nil {
			return err
		}
		return until(s, func(f *payloadv1.SessionRequest) *payloadv1.SessionResponse {
			if r := f.GetRelease(); r != nil {
				released <- r.GetToken()
				return &payloadv1.SessionResponse{Response: &payloadv1.SessionResponse_Release{Release: &payloadv1.ReleaseResponse{}}}
			}
			close(asked)
			<-goOn
			return &payloadv1.SessionResponse{Response: &payloadv1.SessionResponse_Acquire{Acquire: grant(f.GetAcquire())}}
		})
	}}).serve(t)
	ctx, giveUp := context.WithCancel(t.Context())
	go func() { <-asked; giveUp() }()

	_, err := d.dial(t).Acquire(ctx, newID(t))

	require.ErrorIs(t, err, payload.Unavailable)
	require.ErrorIs(t, err, context.Canceled)
	close(goOn)
	require.Equal(t, []byte("token"), <-released)
}

func TestWhatABrokenStreamLeftOpenIsAskedAgainByACall(t *testing.T) {
	var framed *payloadv1.AcquireRequest
	called := make(chan *payloadv1.AcquireRequest, 1)
	greetings := make(chan string, 10)
	d := &daemon{acquire: func(r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) {
		called <- r
		return grant(r), nil
	}}
	d.session = func(s sessionServer) error {
		hello, err := welcome(s, "one")
		if err != nil {
			return err
		}
		greetings <- hello.GetSessionId()
		f, err := s.Recv()
		if err != nil {
			return nil
		}
		framed = f.GetAcquire()
		return status.Error(codes.Unavailable, "broken")
	}

	client := d.serve(t).dial(t)
	_, err := client.Acquire(t.Context(), newID(t))

	require.NoError(t, err)
	again := <-called
	require.Equal(t, framed.GetRequestId(), again.GetRequestId(), "the daemon can tell that it is the same")
	require.Equal(t, "one", again.GetSessionId(), "and the lease is the session's")
	require.Equal(t, "", <-greetings)
	require.Equal(t, "one", <-greetings, "it comes back by itself")
}

func TestWhatMayWaitIsACallInTheSession(t *testing.T) {
	var named []string
	d := (&daemon{
		session: func(s sessionServer) error {
			if _, err := welcome(s, "one"); err != nil {
				return err
			}
			return until(s, silent)
		},
		acquire: func(r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) {
			named = append(named, r.GetSessionId())
			return grant(r), nil
		},
		allocate: func(r *payloadv1.AllocateRequest) (*payloadv1.AllocateResponse, error) {
			named = append(named, r.GetSessionId())
			return nil, refusal(codes.ResourceExhausted, "full", info("TIER_FULL", map[string]string{"code": "EXHAUSTED"}))
		},
	}).serve(t)
	client := d.dial(t)

	_, err := client.Acquire(t.Context(), newID(t), sdk.Wait())
	require.NoError(t, err)
	_, err = client.Allocate(t.Context(), 8)
	require.ErrorIs(t, err, payload.Exhausted)
	require.Equal(t, []string{"one", "one"}, named)
}

func TestWhatTheStreamHasNoRoomForIsACall(t *testing.T) {
	const full = 128
	arrived := make(chan struct{}, full)
	d := (&daemon{
		session: func(s sessionServer) error {
			if _, err := welcome(s, "one"); err != nil {
				return err
			}
			return until(s, func(*payloadv1.SessionRequest) *payloadv1.SessionResponse { arrived <- struct{}{}; return nil })
		},
		resolve: func(context.Context) (*payloadv1.ResolveResponse, error) { return resolved(newID(t).String()), nil },
	}).serve(t)
	client := d.dial(t)
	ctx, giveUp := context.WithCancel(t.Context())
	stuck := make(chan error, full)
	for range full {
		go func() { _, err := client.Resolve(ctx, newID(t)); stuck <- err }()
	}
	for range full {
		<-arrived
	}

	_, err := client.Resolve(t.Context(), newID(t))
	require.NoError(t, err, "frames that are stuck keep nothing else out")

	giveUp()
	for range full {
		require.ErrorIs(t, <-stuck, context.Canceled)
	}
}

func TestASessionThatTheDaemonRefusesIsReplaced(t *testing.T) {
	greetings := make(chan string, 3)
	var streams atomic.Int64
	d := (&daemon{session: func(s sessionServer) error {
		nth := streams.Add(1)
		if nth == 2 {
			first, err := s.Recv()
			greetings <- first.GetHello().GetSessionId()
			if err != nil {
				return err
			}
			return refusal(codes.PermissionDenied, "not yours", info("DENIED", map[string]string{"code": "DENIED"}))
		}
		hello, err := welcome(s, map[int64]string{1: "one", 3: "two"}[nth])
		greetings <- hello.GetSessionId()
		if nth == 1 || err != nil {
			return status.Error(codes.Unavailable, "broken")
		}
		return until(s, silent)
	}, acquire: func(r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) { return grant(r), nil }}).serve(t)

	_, err := d.dial(t).Acquire(t.Context(), newID(t), sdk.Wait())

	require.NoError(t, err)
	require.Equal(t, "", <-greetings)
	require.Equal(t, "one", <-greetings)
	require.Equal(t, "", <-greetings)
}

func TestAFramesErrorIsTheCallsError(t *testing.T) {
	id := newID(t)
	for name, c := range map[string]struct {
		item    *payloadv1.ItemError
		want    payload.Error
		message string
	}{
		"a reason and a subject": {
			&payloadv1.ItemError{GrpcCode: int32(codes.FailedPrecondition), Reason: "TOO_SLOW", Code: "CONFLICT", Id: id.String(), Message: "promote it first"},
			payload.Error{Code: payload.Conflict, Reason: payload.TooSlow, Op: "resolve", ID: id},
			"resolve " + id.String() + ": CONFLICT: promote it first",
		},
		"another host": {
			&payloadv1.ItemError{GrpcCode: int32(codes.FailedPrecondition), Reason: "WRONG_HOST", Code: "WRONG_HOST", Host: "beta", Message: "ask beta"},
			payload.Error{Code: payload.WrongHost, Op: "resolve", Host: "beta"},
			"resolve: WRONG_HOST: ask beta",
		},
		"no meaning": {
			&payloadv1.ItemError{GrpcCode: int32(codes.Unknown), Message: "oops"},
			payload.Error{Code: payload.Internal, Op: "resolve"},
			"resolve: INTERNAL: oops",
		},
		"a deadline": {
			&payloadv1.ItemError{GrpcCode: int32(codes.DeadlineExceeded)},
			payload.Error{Code: payload.Unavailable, Op: "resolve"},
			"resolve: UNAVAILABLE: no answer came in time: context deadline exceeded",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := (&daemon{session: func(s sessionServer) error {
				if _, err := welcome(s, "one"); err != nil {
					return err
				}
				return until(s, func(*payloadv1.SessionRequest) *payloadv1.SessionResponse {
					return &payloadv1.SessionResponse{Response: &payloadv1.SessionResponse_Error{Error: c.item}}
				})
			}}).serve(t)

			_, err := d.dial(t).Resolve(t.Context(), id)

			var got *payload.Error
			require.ErrorAs(t, err, &got)
			require.EqualError(t, err, c.message)
			got.Err = nil
			require.Equal(t, c.want, *got)
		})
	}
}

func TestAFrameIsRepeatedWhenTheDaemonAsksForPatience(t *testing.T) {
	id := newID(t)
	var asked atomic.Int64
	d := (&daemon{session: func(s sessionServer) error {
		if _, err := welcome(s, "one"); err != nil {
			return err
		}
		return until(s, func(f *payloadv1.SessionRequest) *payloadv1.SessionResponse {
			if asked.Add(1) < 3 {
				return &payloadv1.SessionResponse{Response: &payloadv1.SessionResponse_Error{Error: &payloadv1.ItemError{
					GrpcCode: int32(codes.Unavailable), Reason: "UNAVAILABLE", Code: "UNAVAILABLE", RetryAfter: durationpb.New(time.Microsecond),
				}}}
			}
			return &payloadv1.SessionResponse{Response: &payloadv1.SessionResponse_Resolve{Resolve: resolved(f.GetResolve().GetId())}}
		})
	}}).serve(t)

	at, err := d.dial(t).Resolve(t.Context(), id)

	require.NoError(t, err)
	require.Equal(t, id, at.ID)
	require.EqualValues(t, 3, asked.Load())
}
