package facade_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

type stream = payloadv1.LeaseService_SessionClient

// attach opens a stream and greets. An empty id asks for a new session.
func (r *rig) attach(ctx context.Context, id string) (stream, string) {
	r.t.Helper()
	s, err := r.lease.Session(ctx)
	require.NoError(r.t, err)
	hello := &payloadv1.SessionRequest_Hello{Holder: "trainer-3", SessionId: id}
	said := ask(r.t, s, &payloadv1.SessionRequest{Seq: 41, Request: &payloadv1.SessionRequest_Hello_{Hello: hello}})
	require.Equal(r.t, uint64(41), said.GetSeq())
	require.Equal(r.t, "alpha", said.GetWelcome().GetHost())
	return s, said.GetWelcome().GetSessionId()
}

func ask(t testing.TB, s stream, frame *payloadv1.SessionRequest) *payloadv1.SessionResponse {
	t.Helper()
	require.NoError(t, s.Send(frame))
	said, err := s.Recv()
	require.NoError(t, err)
	return said
}

func acquireFrame(seq uint64, ask *payloadv1.AcquireRequest) *payloadv1.SessionRequest {
	return &payloadv1.SessionRequest{Seq: seq, Request: &payloadv1.SessionRequest_Acquire{Acquire: ask}}
}

func (r *rig) leases() int64 {
	r.t.Helper()
	stats, err := r.admin.Stats(r.t.Context(), &payloadv1.StatsRequest{})
	require.NoError(r.t, err)
	return stats.GetLeases()
}

// awaitEnd waits until no bytes of the payload are left.
func (r *rig) awaitEnd(id string) {
	r.t.Helper()
	parsed, err := payload.ParseID(id)
	require.NoError(r.t, err)
	_, err = r.host.AwaitEnd(r.t.Context(), "", parsed)
	require.NoError(r.t, err)
}

func TestASessionDoesWhatTheCallsDo(t *testing.T) {
	r := newRig(t)
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{})
	s, _ := r.attach(t.Context(), "")

	resolved := ask(t, s, &payloadv1.SessionRequest{Seq: 1, Request: &payloadv1.SessionRequest_Resolve{Resolve: &payloadv1.ResolveRequest{Id: p.GetId()}}})
	require.Equal(t, payloadv1.Tier_TIER_RAM, resolved.GetResolve().GetBest().GetTier())

	lease := ask(t, s, acquireFrame(2, &payloadv1.AcquireRequest{Id: p.GetId()})).GetAcquire().GetLease()
	require.Equal(t, "trainer-3", lease.GetHolder(), "the session's holder, unless the request names one")

	renewed := ask(t, s, &payloadv1.SessionRequest{Seq: 3, Request: &payloadv1.SessionRequest_Renew{Renew: &payloadv1.RenewRequest{Token: lease.GetToken()}}})
	require.Positive(t, renewed.GetRenew().GetRemaining().AsDuration())

	released := ask(t, s, &payloadv1.SessionRequest{Seq: 4, Request: &payloadv1.SessionRequest_Release{Release: &payloadv1.ReleaseRequest{Token: lease.GetToken()}}})
	require.NotNil(t, released.GetRelease())
	require.Equal(t, uint64(4), released.GetSeq())
	require.Zero(t, r.leases())
}

func TestAStreamThatBreaksEndsNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	ctx, breaks := context.WithCancel(t.Context())
	first, id := r.attach(ctx, "")
	require.NotNil(t, ask(t, first, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId(), RequestId: "once"})).GetAcquire())
	breaks()
	_, err := first.Recv()
	require.Error(t, err)

	second, same := r.attach(t.Context(), id)
	require.Equal(t, id, same)
	require.NotNil(t, ask(t, second, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId(), RequestId: "once"})).GetAcquire())
	require.Equal(t, int64(1), r.leases(), "it is the session's lease still")

	require.NoError(t, second.CloseSend())
	_, err = second.Recv()
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, r.leases(), "a client that is done gives everything back")
	r.delete(p.GetId())
	r.empty()
}

func TestACallMayNameItsSession(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	s, id := r.attach(t.Context(), "")
	r.acquire(&payloadv1.AcquireRequest{Id: p.GetId(), SessionId: id})
	_, err := r.lease.BatchAcquire(t.Context(), &payloadv1.BatchAcquireRequest{Requests: []*payloadv1.AcquireRequest{{Id: p.GetId(), SessionId: id}}})
	require.NoError(t, err)
	left := r.allocate(&payloadv1.AllocateRequest{Size: mebibyte, SessionId: id})
	kept := r.allocate(&payloadv1.AllocateRequest{Size: mebibyte})
	require.Equal(t, int64(2), r.leases())

	require.NoError(t, s.CloseSend())
	_, err = s.Recv()
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, r.leases())
	r.awaitEnd(left.GetPayload().GetId())
	got, err := r.life.Get(t.Context(), &payloadv1.GetRequest{Id: kept.GetPayload().GetId()})
	require.NoError(t, err)
	require.Equal(t, payloadv1.State_STATE_ALLOCATED, got.GetPayload().GetState(), "it was made in no session")
}

func TestAFrameSaysOfAnErrorWhatAStatusSays(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	s, _ := r.attach(t.Context(), "")
	said := ask(t, s, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId(), MinTier: payloadv1.Tier_TIER_RAM})).GetError()
	require.Equal(t, "TOO_SLOW", said.GetReason())
	require.Equal(t, "CONFLICT", said.GetCode())
	require.Equal(t, p.GetId(), said.GetId())
}

func TestABadFrameIsAnsweredAndTheStreamGoesOn(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	s, id := r.attach(t.Context(), "")
	bad := map[string]*payloadv1.SessionRequest{
		"nothing asked":  {},
		"second hello":   {Request: &payloadv1.SessionRequest_Hello_{Hello: &payloadv1.SessionRequest_Hello{SessionId: id}}},
		"empty resolve":  {Request: &payloadv1.SessionRequest_Resolve{}},
		"empty acquire":  {Request: &payloadv1.SessionRequest_Acquire{}},
		"empty renew":    {Request: &payloadv1.SessionRequest_Renew{}},
		"empty release":  {Request: &payloadv1.SessionRequest_Release{}},
		"malformed id":   acquireFrame(0, &payloadv1.AcquireRequest{Id: "frame-17", Wait: true}),
		"unknown tier":   acquireFrame(0, &payloadv1.AcquireRequest{Id: p.GetId(), MinTier: 99}),
		"negative lease": acquireFrame(0, &payloadv1.AcquireRequest{Id: p.GetId(), Duration: negative}),
	}
	for why, frame := range bad {
		frame.Seq = 7
		said := ask(t, s, frame)
		require.Equal(t, uint64(7), said.GetSeq(), why)
		require.Equal(t, "INVALID", said.GetError().GetReason(), why)
		require.Equal(t, int32(codes.InvalidArgument), said.GetError().GetGrpcCode(), why)
	}
	require.NotNil(t, ask(t, s, acquireFrame(8, &payloadv1.AcquireRequest{Id: p.GetId()})).GetAcquire())
}

// forgedSession has the form of an id that a welcome gives.
var forgedSession = strings.Repeat("A", placement.SessionIDLength)

func TestASessionBeginsWithAHello(t *testing.T) {
	r := newRig(t)
	for why, row := range map[string]struct {
		first *payloadv1.SessionRequest
		code  codes.Code
		field string
	}{
		"another frame":      {acquireFrame(1, &payloadv1.AcquireRequest{}), codes.FailedPrecondition, ""},
		"no frame":           {&payloadv1.SessionRequest{}, codes.FailedPrecondition, ""},
		"a forged session":   {&payloadv1.SessionRequest{Request: &payloadv1.SessionRequest_Hello_{Hello: &payloadv1.SessionRequest_Hello{SessionId: forgedSession}}}, codes.PermissionDenied, ""},
		"a made-up session":  {&payloadv1.SessionRequest{Request: &payloadv1.SessionRequest_Hello_{Hello: &payloadv1.SessionRequest_Hello{SessionId: "mine"}}}, codes.InvalidArgument, "hello.session_id"},
		"a holder of 300 xs": {&payloadv1.SessionRequest{Request: &payloadv1.SessionRequest_Hello_{Hello: &payloadv1.SessionRequest_Hello{Holder: tooLong}}}, codes.InvalidArgument, "hello.holder"},
	} {
		t.Run(why, func(t *testing.T) {
			s, err := r.lease.Session(t.Context())
			require.NoError(t, err)
			require.NoError(t, s.Send(row.first))
			_, err = s.Recv()
			require.Equal(t, row.code, complaintOf(t, err).code, "%v", err)
			require.Equal(t, row.field, complaintOf(t, err).field)
		})
	}
}

func TestAcquiresThatWaitKeepNothingElseOut(t *testing.T) {
	r := newRig(t)
	slow := r.put(content(8), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	quick := r.put(content(8), &payloadv1.AllocateRequest{})
	copied := make(chan struct{})
	wait := func(ctx context.Context) error {
		select {
		case <-copied:
			return payload.Errorf(payload.Corrupt, "the disk returned other bytes")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mover.fail.Store(&wait)
	s, _ := r.attach(t.Context(), "")

	const waiting, beyond = 64, 65
	for seq := range uint64(beyond) {
		require.NoError(t, s.Send(acquireFrame(seq, &payloadv1.AcquireRequest{Id: slow.GetId(), MinTier: payloadv1.Tier_TIER_RAM, Wait: true})))
	}
	refused, err := s.Recv()
	require.NoError(t, err)
	require.Equal(t, uint64(waiting), refused.GetSeq())
	require.Equal(t, "EXHAUSTED", refused.GetError().GetReason())
	require.Positive(t, refused.GetError().GetRetryAfter().AsDuration())

	require.NotNil(t, ask(t, s, acquireFrame(1000, &payloadv1.AcquireRequest{Id: quick.GetId()})).GetAcquire())
	close(copied)
	for range waiting {
		said, err := s.Recv()
		require.NoError(t, err)
		require.Equal(t, "CORRUPT", said.GetError().GetReason())
	}
}

func TestAPanicInAFrameIsAnsweredLikeAnyDefect(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	burst := func(context.Context) error { panic("a defect") }
	r.mover.fail.Store(&burst)
	s, _ := r.attach(t.Context(), "")
	said := ask(t, s, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId(), MinTier: payloadv1.Tier_TIER_RAM, Wait: true}))
	require.Equal(t, "INTERNAL", said.GetError().GetReason())
	require.NotContains(t, said.GetError().GetMessage(), "a defect:")
	require.NotNil(t, ask(t, s, acquireFrame(2, &payloadv1.AcquireRequest{Id: p.GetId()})).GetAcquire(), "the stream goes on")
}

func TestShutdownEndsWhatWaitsAndKeepsTheLeases(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	s, _ := r.attach(t.Context(), "")
	require.NotNil(t, ask(t, s, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId()})).GetAcquire())
	moving := make(chan struct{})
	forever := func(ctx context.Context) error { close(moving); <-ctx.Done(); return ctx.Err() }
	r.mover.fail.Store(&forever)
	moved := make(chan error, 1)
	go func() {
		_, err := r.move.Spill(context.Background(), &payloadv1.SpillRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_DISK})
		moved <- err
	}()
	<-moving

	r.server.Shutdown(t.Context())
	require.Equal(t, codes.Unavailable, complaintOf(t, <-moved).code)
	_, err := s.Recv()
	require.Equal(t, codes.Unavailable, complaintOf(t, err).code)
	require.Equal(t, 1, r.host.Leases().Count, "a restart takes no lease away")
}

func TestAShutdownThatTakesTooLongBreaksCallsOff(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	moving, deaf := make(chan struct{}), make(chan struct{})
	stuck := func(context.Context) error { close(moving); <-deaf; return errors.New("too late") }
	r.mover.fail.Store(&stuck)
	moved := make(chan error, 1)
	go func() {
		_, err := r.move.Spill(context.Background(), &payloadv1.SpillRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_DISK})
		moved <- err
	}()
	<-moving
	ctx, hurry := context.WithCancel(t.Context())
	down := make(chan struct{})
	go func() { r.server.Shutdown(ctx); close(down) }()
	hurry()
	require.Error(t, <-moved, "its client is not kept waiting")
	close(deaf)
	<-down
}
