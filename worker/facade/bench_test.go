package facade_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/health/grpc_health_v1"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
)

// The hot path beside a bare call over the same connection: one operation is a
// pair of calls in each, so that the two can be divided.

func BenchmarkTwoBareCalls(b *testing.B) {
	r := newRig(b)
	health := grpc_health_v1.NewHealthClient(r.conn)
	b.ReportAllocs()
	for b.Loop() {
		for range 2 {
			_, err := health.Check(b.Context(), &grpc_health_v1.HealthCheckRequest{Service: "payload.v1.LeaseService"})
			require.NoError(b, err)
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	r := newRig(b)
	p := r.put(content(4096), &payloadv1.AllocateRequest{})
	b.ReportAllocs()
	for b.Loop() {
		lease, err := r.lease.Acquire(b.Context(), &payloadv1.AcquireRequest{Id: p.GetId(), Holder: "bench"})
		require.NoError(b, err)
		_, err = r.lease.Release(b.Context(), &payloadv1.ReleaseRequest{Token: lease.GetLease().GetToken()})
		require.NoError(b, err)
	}
}

func BenchmarkAcquireReleaseInASession(b *testing.B) {
	r := newRig(b)
	p := r.put(content(4096), &payloadv1.AllocateRequest{})
	s, _ := r.attach(b.Context(), "")
	b.ReportAllocs()
	for b.Loop() {
		lease := ask(b, s, acquireFrame(1, &payloadv1.AcquireRequest{Id: p.GetId()})).GetAcquire().GetLease()
		ask(b, s, &payloadv1.SessionRequest{Seq: 2, Request: &payloadv1.SessionRequest_Release{Release: &payloadv1.ReleaseRequest{Token: lease.GetToken()}}})
	}
}

// Many callers share one stream: a sender and a receiver, sixty-four frames
// under way.
func BenchmarkResolveThroughABusySession(b *testing.B) {
	const underWay = 64
	r := newRig(b)
	p := r.put(content(4096), &payloadv1.AllocateRequest{})
	s, _ := r.attach(b.Context(), "")
	frame := &payloadv1.SessionRequest{Request: &payloadv1.SessionRequest_Resolve{Resolve: &payloadv1.ResolveRequest{Id: p.GetId()}}}
	room := make(chan struct{}, underWay)
	b.ReportAllocs()
	b.ResetTimer()
	var receiving sync.WaitGroup
	receiving.Go(func() {
		for range b.N {
			if said, err := s.Recv(); err != nil || said.GetResolve() == nil {
				b.Errorf("resolve: %v %v", said.GetError(), err)
				return
			}
			<-room
		}
	})
	for range b.N {
		room <- struct{}{}
		require.NoError(b, s.Send(frame))
	}
	receiving.Wait()
}

func BenchmarkBatchResolveOf1000(b *testing.B) {
	r := newRig(b)
	p := r.put(content(4096), &payloadv1.AllocateRequest{})
	batch := &payloadv1.BatchResolveRequest{}
	for range 1000 {
		batch.Requests = append(batch.Requests, &payloadv1.ResolveRequest{Id: p.GetId()})
	}
	b.ReportAllocs()
	for b.Loop() {
		answer, err := r.lease.BatchResolve(b.Context(), batch)
		require.NoError(b, err)
		require.Nil(b, answer.GetOutcomes()[999].GetError())
	}
}
