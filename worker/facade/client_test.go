package facade_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/worker/facade"
)

// client is our Go client, in this process.
func (r *rig) client(options ...sdk.Option) *sdk.Client {
	r.t.Helper()
	client, err := sdk.Dial(r.t.Context(), r.socket, options...)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, client.Close()) })
	return client
}

func id(t testing.TB, p *payloadv1.Payload) payload.ID {
	t.Helper()
	parsed, err := payload.ParseID(p.GetId())
	require.NoError(t, err)
	return parsed
}

func TestAClientGivesEverythingBackWhenItCloses(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	client := r.client()
	_, err := client.Acquire(t.Context(), id(t, p), sdk.LeaseFor(payload.MaxLease))
	require.NoError(t, err)
	_, err = client.Acquire(t.Context(), id(t, p), sdk.Wait())
	require.NoError(t, err)
	w, err := client.Allocate(t.Context(), mebibyte)
	require.NoError(t, err)
	require.Equal(t, 2, r.host.Leases().Count)

	require.NoError(t, client.Close())

	require.Zero(t, r.host.Leases().Count)
	r.freed(w.ID().String())
	r.delete(p.GetId())
	require.Error(t, w.Abort(t.Context()), "there is nobody to tell, but it lets go of the memory")
	r.empty()
}

func TestAClientGoesOnWhenItsConnectionWasCut(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	client := r.client()
	lease, err := client.Acquire(t.Context(), id(t, p))
	require.NoError(t, err)

	for range 20 {
		r.line.cut()
		another, err := client.Acquire(t.Context(), id(t, p))
		require.NoError(t, err)
		_, err = client.Renew(t.Context(), lease.Token, time.Minute)
		require.NoError(t, err)
		require.NoError(t, client.Release(t.Context(), another.Token))
	}
	require.Equal(t, 1, r.host.Leases().Count)
}

func TestAClientOutlivesARestartOfTheFacade(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	welcomed := make(chan string, 10)
	client := r.client(sdk.WithGRPC(grpc.WithStreamInterceptor(telling(welcomed))))
	_, err := client.Acquire(t.Context(), id(t, p), sdk.LeaseFor(payload.MaxLease))
	require.NoError(t, err)
	session := <-welcomed

	r.server.Shutdown(t.Context())
	require.Equal(t, 1, r.host.Leases().Count, "a restart takes no lease away")
	r.serve()
	_, err = client.Acquire(t.Context(), id(t, p), sdk.Wait()) // a call in the session, which the new façade never saw begin
	require.NoError(t, err)
	require.Equal(t, 2, r.host.Leases().Count)
	require.Equal(t, session, <-welcomed, "it comes back by itself")

	require.NoError(t, client.Close())
	require.Zero(t, r.host.Leases().Count)
}

// telling passes on the id of each session that a client is welcomed to.
func telling(welcomed chan<- string) grpc.StreamClientInterceptor {
	return func(ctx context.Context, what *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := open(ctx, what, conn, method, options...)
		return &told{s, welcomed}, err
	}
}

type told struct {
	grpc.ClientStream
	welcomed chan<- string
}

func (s *told) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if said, is := m.(*payloadv1.SessionResponse); is && err == nil && said.GetWelcome() != nil {
		s.welcomed <- said.GetWelcome().GetSessionId()
	}
	return err
}

// pidfds counts those that this process has open.
func pidfds(t testing.TB) (count int) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range open {
		name, _ := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if strings.Contains(name, "pidfd") {
			count++
		}
	}
	return count
}

func TestAForgottenSessionEndsNothing(t *testing.T) {
	r := newRig(t, func(o *facade.Options) { o.Remember = time.Nanosecond })
	before := pidfds(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	s, session := r.attach(t.Context(), "")
	require.NotNil(t, ask(t, s, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId(), RequestId: "once"})).GetAcquire())
	require.Equal(t, before+1, pidfds(t), "one for the connection and its session")

	r.line.cut()
	require.Eventually(t, func() bool { return pidfds(t) == before }, 10*time.Second, time.Millisecond)
	require.Equal(t, 1, r.host.Leases().Count)

	require.Eventually(t, func() bool { _, err := r.admin.Stats(t.Context(), &payloadv1.StatsRequest{}); return err == nil }, 10*time.Second, time.Millisecond)
	back, _ := r.attach(t.Context(), session)
	require.NotNil(t, ask(t, back, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId(), RequestId: "once"})).GetAcquire())
	require.Equal(t, 1, r.host.Leases().Count, "and it is the session's still")
}

func TestOverTCPTheDeadlinesAreTheNet(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	far := &line{Listener: listener, open: map[net.Conn]bool{}}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(far) }()
	r.socket = listener.Addr().String()
	client := r.client()
	lease, err := client.Acquire(t.Context(), id(t, p))
	require.NoError(t, err)

	far.cut()
	_, err = client.Renew(t.Context(), lease.Token, time.Minute)
	require.NoError(t, err, "it goes on, as the same session")
	require.Equal(t, 1, r.host.Leases().Count)
	require.NoError(t, client.Close())
	require.Zero(t, r.host.Leases().Count, "and says goodbye as any other")
	r.server.Shutdown(t.Context())
	require.NoError(t, <-served)
}

func TestAThousandSessionsLeaveNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{})
	goroutines, descriptors := runtime.NumGoroutine(), pidfds(t)
	open := make([]stream, 1000)
	for i := range open {
		open[i], _ = r.attach(t.Context(), "")
		require.NotNil(t, ask(t, open[i], acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId()})).GetAcquire())
	}
	require.Equal(t, len(open), r.host.Leases().Count)
	require.Equal(t, descriptors, pidfds(t), "they share their connection's")

	for _, s := range open {
		require.NoError(t, s.CloseSend())
		_, err := s.Recv()
		require.ErrorIs(t, err, io.EOF)
	}
	require.Zero(t, r.host.Leases().Count)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+10 }, 10*time.Second, time.Millisecond, "a connection's own, and no session's")
}

func TestCallsOnTheirWayWhenASessionEndsLeaveNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(content(8), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	s, session := r.attach(t.Context(), "")
	moving, move := make(chan struct{}), make(chan struct{})
	slow := func(ctx context.Context) error {
		close(moving)
		<-move
		_, _, err := r.host.Copy(ctx, id(t, p), payload.RAM, nil)
		return err
	}
	r.mover.fail.Store(&slow)
	got := make(chan error, 1)
	go func() {
		_, err := r.lease.Acquire(context.Background(), &payloadv1.AcquireRequest{Id: p.GetId(), MinTier: payloadv1.Tier_TIER_RAM, Wait: true, SessionId: session})
		got <- err
	}()
	<-moving
	require.NoError(t, s.CloseSend())
	_, err := s.Recv()
	require.ErrorIs(t, err, io.EOF)

	close(move)
	require.NoError(t, <-got)
	require.Zero(t, r.host.Leases().Count, "the lease came after the end of its session, and ended with the call")
}
