package facade_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/payload-manager/payload-manager/catalog"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
)

func TestAWholeLifeOverTheWire(t *testing.T) {
	r := newRig(t)
	bytes := content(2*mebibyte + 3)

	p := r.put(bytes, &payloadv1.AllocateRequest{Name: "frame 17", Policy: &payloadv1.Policy{Ttl: durationpb.New(time.Hour)}})
	require.Equal(t, payloadv1.State_STATE_ACTIVE, p.GetState())
	require.Equal(t, "default", p.GetNamespace())
	require.Equal(t, "payload:default:"+p.GetId(), p.GetWorkflowId())
	require.Equal(t, r.now().Add(time.Hour), p.GetExpiresAt().AsTime().Local())

	resolved, err := r.lease.Resolve(t.Context(), &payloadv1.ResolveRequest{Id: p.GetId()})
	require.NoError(t, err)
	require.Equal(t, payloadv1.Tier_TIER_RAM, resolved.GetBest().GetTier())
	require.Equal(t, "alpha", resolved.GetBest().GetHost())
	require.Equal(t, int64(len(bytes)), resolved.GetBest().GetSize())

	lease := r.acquire(&payloadv1.AcquireRequest{Id: p.GetId(), Holder: "trainer-3"})
	got, err := r.life.Get(t.Context(), &payloadv1.GetRequest{Id: p.GetId()})
	require.NoError(t, err)
	require.Equal(t, int32(1), got.GetPayload().GetPlacements()[0].GetLeases())

	renewed, err := r.lease.Renew(t.Context(), &payloadv1.RenewRequest{Token: lease.GetToken(), Duration: durationpb.New(time.Minute)})
	require.NoError(t, err)
	require.Greater(t, renewed.GetRemaining().AsDuration(), 30*time.Second)
	for range 2 { // releasing twice is releasing once
		_, err = r.lease.Release(t.Context(), &payloadv1.ReleaseRequest{Token: lease.GetToken()})
		require.NoError(t, err)
	}

	extended, err := r.life.Extend(t.Context(), &payloadv1.ExtendRequest{Id: p.GetId()})
	require.NoError(t, err)
	require.Nil(t, extended.GetPayload().GetExpiresAt(), "no time to live means for ever")
	require.Equal(t, p.GetExpiresAt().AsTime(), extended.GetPreviousExpiresAt().AsTime())

	r.delete(p.GetId())
	r.empty()
}

func TestMovesEndWhereTheyWereAskedTo(t *testing.T) {
	r := newRig(t)
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{})

	spilled, err := r.move.Spill(t.Context(), &payloadv1.SpillRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_DISK, ExpectedVersion: p.GetVersion()})
	require.NoError(t, err)
	require.Len(t, spilled.GetPayload().GetPlacements(), 1)
	require.Equal(t, payloadv1.Tier_TIER_DISK, spilled.GetPayload().GetPlacements()[0].GetTier())

	again, err := r.move.Spill(t.Context(), &payloadv1.SpillRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_DISK})
	require.NoError(t, err)
	same(t, spilled.GetPayload(), again.GetPayload())
	require.Equal(t, int64(1), r.mover.made.Load(), "nothing faster is held: no move")

	ask := &payloadv1.PromoteRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_RAM, RequestId: "promote-1", ExpectedVersion: spilled.GetPayload().GetVersion()}
	for range 2 { // a repeat is not judged by the version that the first changed
		promoted, err := r.move.Promote(t.Context(), ask)
		require.NoError(t, err)
		require.Len(t, promoted.GetPayload().GetPlacements(), 2, "promotion keeps the copy below")
	}
	require.Equal(t, int64(2), r.mover.made.Load())
	r.delete(p.GetId())
	r.empty()
}

func TestAcquireWaitsForThePromotionItNeeds(t *testing.T) {
	r := newRig(t)
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	ask := &payloadv1.AcquireRequest{Id: p.GetId(), MinTier: payloadv1.Tier_TIER_RAM}

	_, err := r.lease.Acquire(t.Context(), ask)
	require.Equal(t, codes.FailedPrecondition, complaintOf(t, err).code, "whoever does not wait is told")
	require.Equal(t, "TOO_SLOW", complaintOf(t, err).info.GetReason())

	ask.Wait = true
	batch, err := r.lease.BatchAcquire(t.Context(), &payloadv1.BatchAcquireRequest{Requests: []*payloadv1.AcquireRequest{ask}})
	require.NoError(t, err)
	require.Equal(t, "TOO_SLOW", batch.GetOutcomes()[0].GetError().GetReason(), "a batch never waits")

	require.Equal(t, payloadv1.Tier_TIER_RAM, r.acquire(ask).GetAt().GetTier())
}

func TestWithoutTemporalAMoveWaitsThenSaysWhy(t *testing.T) {
	r := newRig(t)
	r.mover.down.Store(true)
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{Policy: &payloadv1.Policy{Tier: payloadv1.Tier_TIER_DISK}})
	deadline := time.Now().Add(time.Minute)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()

	_, promote := r.move.Promote(ctx, &payloadv1.PromoteRequest{Id: p.GetId(), To: payloadv1.Tier_TIER_RAM})
	require.True(t, r.mover.till.Load().Before(deadline), "the wait ends in time for its answer to arrive")
	_, acquire := r.lease.Acquire(ctx, &payloadv1.AcquireRequest{Id: p.GetId(), MinTier: payloadv1.Tier_TIER_RAM, Wait: true})
	for _, err := range []error{promote, acquire} {
		require.Equal(t, codes.Unavailable, complaintOf(t, err).code, "%v", err)
		require.Equal(t, time.Second, complaintOf(t, err).retry)
	}
	require.Equal(t, payloadv1.Tier_TIER_DISK, r.acquire(&payloadv1.AcquireRequest{Id: p.GetId()}).GetAt().GetTier(), "everything else works")
}

func TestARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	r := newRig(t)
	ask := &payloadv1.AllocateRequest{RequestId: "once", Size: mebibyte}
	first, second := r.allocate(ask), r.allocate(ask)
	same(t, first, second)
	r.write(first.GetWriteToken(), content(mebibyte))

	commit := &payloadv1.CommitRequest{RequestId: "once", Id: first.GetPayload().GetId(), ExpectedVersion: 1}
	for range 2 {
		done, err := r.life.Commit(t.Context(), commit)
		require.NoError(t, err)
		require.Equal(t, payloadv1.State_STATE_ACTIVE, done.GetPayload().GetState())
	}
	acquire := &payloadv1.AcquireRequest{RequestId: "once", Id: first.GetPayload().GetId()}
	require.Equal(t, r.acquire(acquire).GetToken(), r.acquire(acquire).GetToken())
}

func TestABatchHasAnOutcomeForEachItem(t *testing.T) {
	r := newRig(t)
	rooms, err := r.life.BatchAllocate(t.Context(), &payloadv1.BatchAllocateRequest{Requests: []*payloadv1.AllocateRequest{
		{Size: 5}, {Size: -1}, {Size: 5}, {Size: 1 << 40},
	}})
	require.NoError(t, err)
	outcomes := rooms.GetOutcomes()
	require.Equal(t, "INVALID", outcomes[1].GetError().GetReason())
	require.Contains(t, outcomes[1].GetError().GetMessage(), "size: ")
	require.Equal(t, "TIER_FULL", outcomes[3].GetError().GetReason())
	require.Equal(t, int32(codes.ResourceExhausted), outcomes[3].GetError().GetGrpcCode())

	commits := &payloadv1.BatchCommitRequest{}
	for _, at := range []int{0, 2} {
		r.write(outcomes[at].GetResponse().GetWriteToken(), content(5))
		commits.Requests = append(commits.Requests, &payloadv1.CommitRequest{Id: outcomes[at].GetResponse().GetPayload().GetId()})
	}
	committed, err := r.life.BatchCommit(t.Context(), commits)
	require.NoError(t, err)
	for _, outcome := range committed.GetOutcomes() {
		require.Nil(t, outcome.GetError())
		require.Equal(t, payloadv1.State_STATE_ACTIVE, outcome.GetResponse().GetPayload().GetState())
	}
}

func TestPagesGoThroughEverythingOnce(t *testing.T) {
	r := newRig(t)
	want := map[string]bool{}
	for range 7 {
		want[r.allocate(&payloadv1.AllocateRequest{Size: 1, Namespace: "team-b"}).GetPayload().GetId()] = true
	}
	gone := r.allocate(&payloadv1.AllocateRequest{Size: 1, Namespace: "team-b"})
	_, err := r.life.Abort(t.Context(), &payloadv1.AbortRequest{Id: gone.GetPayload().GetId()})
	require.NoError(t, err)

	ask := &payloadv1.ListRequest{Namespace: "team-b", PageSize: 3}
	for pages := 0; pages == 0 || ask.GetPageToken() != ""; pages++ {
		page, err := r.life.List(t.Context(), ask)
		require.NoError(t, err)
		for _, p := range page.GetPayloads() {
			require.True(t, want[p.GetId()], "once each, and no tombstone")
			delete(want, p.GetId())
		}
		ask.PageToken = page.GetNextPageToken()
	}
	require.Empty(t, want)
}

func TestDeleteThatWaitsEndsWithTheLastLease(t *testing.T) {
	r := newRig(t)
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{})
	lease := r.acquire(&payloadv1.AcquireRequest{Id: p.GetId()})

	deleted, err := r.life.Delete(t.Context(), &payloadv1.DeleteRequest{Id: p.GetId()})
	require.NoError(t, err)
	require.Equal(t, payloadv1.State_STATE_DELETING, deleted.GetPayload().GetState(), "it answers while a reader holds the bytes")

	ended := make(chan error, 1)
	go func() {
		_, err := r.life.Delete(context.Background(), &payloadv1.DeleteRequest{Id: p.GetId(), Wait: true})
		ended <- err
	}()
	_, err = r.lease.Release(t.Context(), &payloadv1.ReleaseRequest{Token: lease.GetToken()})
	require.NoError(t, err)
	if err := <-ended; err != nil { // the tombstone may stand before the second delete comes
		require.Equal(t, codes.NotFound, complaintOf(t, err).code)
	}
	r.empty()
}

func TestOperatorsSeeTheHost(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.catalog.Announce(t.Context(), catalog.Host{Name: "alpha", Address: "alpha:7070", Version: "v1"}))
	p := r.put(content(mebibyte), &payloadv1.AllocateRequest{})
	r.acquire(&payloadv1.AcquireRequest{Id: p.GetId()})

	stats, err := r.admin.Stats(t.Context(), &payloadv1.StatsRequest{})
	require.NoError(t, err)
	require.Equal(t, "alpha", stats.GetHost())
	require.Equal(t, payloadv1.Tier_TIER_RAM, stats.GetTiers()[0].GetTier())
	require.GreaterOrEqual(t, stats.GetTiers()[0].GetUsed(), int64(mebibyte))
	require.Equal(t, int64(1), stats.GetLeases())
	require.Equal(t, int64(3), stats.GetOutbox())
	require.Positive(t, stats.GetControlPlaneBytes())
	require.Less(t, stats.GetControlPlaneBytes(), int64(4096), "a mebibyte went past, a few messages went through")

	hosts, err := r.admin.Hosts(t.Context(), &payloadv1.HostsRequest{})
	require.NoError(t, err)
	require.Equal(t, "alpha:7070", hosts.GetHosts()[0].GetAddress())

	health, err := grpc_health_v1.NewHealthClient(r.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "payload.v1.LeaseService"})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, health.GetStatus())
}
