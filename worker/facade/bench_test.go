package facade_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/health/grpc_health_v1"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
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

// callers are how many ask at a time.
var callers = []int{1, 64}

// BenchmarkClient is our Go client, whose leases travel in its session's
// stream, beside the same pair as calls.
func BenchmarkClient(b *testing.B) {
	r := newRig(b)
	p := r.put(content(4096), &payloadv1.AllocateRequest{})
	client := r.client()
	session := func() error {
		lease, err := client.Acquire(b.Context(), id(b, p))
		if err != nil {
			return err
		}
		return client.Release(b.Context(), lease.Token)
	}
	calls := func() error {
		lease, err := r.lease.Acquire(b.Context(), &payloadv1.AcquireRequest{Id: p.GetId(), RequestId: rand.Text(), Holder: "bench"})
		if err != nil {
			return err
		}
		_, err = r.lease.Release(b.Context(), &payloadv1.ReleaseRequest{Token: lease.GetLease().GetToken()})
		return err
	}
	for _, n := range callers {
		b.Run(fmt.Sprintf("session/%d", n), func(b *testing.B) { pairs(b, n, session) })
		b.Run(fmt.Sprintf("calls/%d", n), func(b *testing.B) { pairs(b, n, calls) })
	}
}

// pairs has n callers share b.N pairs of acquire and release, and reports how
// long one takes its caller.
func pairs(b *testing.B, n int, pair func() error) {
	require.NoError(b, pair()) // connects
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				began := time.Now()
				if err := pair(); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	quantiles(b, took)
}

func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// A client is killed while it holds the last lease on a doomed payload: how
// long until its lease ended and, because of that, the memory is free and the
// payload's lifecycle told. The process that starts for it is not counted.
func BenchmarkDeathOfAClient(b *testing.B) {
	r := newRig(b)
	freed := make(chan time.Time, 1)
	r.host.OnDrained(func(payload.Payload) { freed <- time.Now() })
	took := make([]time.Duration, 0, b.N)
	for range b.N {
		p := r.put(content(4096), &payloadv1.AllocateRequest{})
		c := r.child("hold", p.GetId())
		c.line()
		r.doom(p.GetId())
		began := time.Now()
		require.NoError(b, c.cmd.Process.Kill())
		took = append(took, (<-freed).Sub(began))
		_ = c.cmd.Wait()
	}
	b.StopTimer()
	quantiles(b, took)
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
