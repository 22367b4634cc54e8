package workflows_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktemporal "go.temporal.io/sdk/temporal"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

func TestAPlainLifeIsShort(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, 4096, payload.Policy{TTL: 2 * time.Second})
	run := r.start(p, "here")

	require.Equal(t, contract.LifecycleResult{State: payload.StateDeleted, Freed: 1, Bytes: 4096}, r.result(run))
	require.Zero(t, r.used(r.here))
	after := r.record(p)
	require.False(t, after.EndedAt.Before(after.ExpiresAt), "never early")

	h := r.history(run)
	t.Logf("allocate, commit, expire: %d events", len(h.Events))
	require.LessOrEqual(t, len(h.Events), 15)
	record(t, "own", h)

	seen, err := r.client.DescribeWorkflow(t.Context(), run.GetID(), run.GetRunID())
	require.NoError(t, err)
	state, _ := seen.TypedSearchAttributes.GetKeyword(sdktemporal.NewSearchAttributeKeyKeyword(contract.PayloadState))
	require.Equal(t, "deleted", state)
}

func TestAnAllocationThatIsNeverCommittedComesBack(t *testing.T) {
	r := newRig(t)
	a, err := r.here.Allocate(t.Context(), placement.AllocateRequest{
		Namespace: "default", Size: 4096, Policy: payload.Policy{CommitWithin: time.Second},
	})
	require.NoError(t, err)

	got := r.result(r.start(a.Payload, "here"))

	require.Equal(t, payload.StateAborted, got.State)
	require.Zero(t, r.used(r.here))
}

func TestExtendingTellsNobody(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, 4096, payload.Policy{TTL: time.Second})
	run := r.start(p, "here")
	_, _, err := r.here.Extend(t.Context(), catalog.Change{ID: p.ID}, 4*time.Second)
	require.NoError(t, err)

	r.result(run)

	after := r.record(p)
	require.True(t, after.ExpiresAt.After(p.ExpiresAt))
	require.False(t, after.EndedAt.Before(after.ExpiresAt))
}

func TestALeaseHoldsTheBytesAndItsEndWakesTheLifecycle(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, 4096, payload.Policy{})
	run := r.start(p, "here")
	lease, err := r.here.Acquire(t.Context(), placement.AcquireRequest{ID: p.ID, Holder: "a reader", Duration: payload.MaxLease})
	require.NoError(t, err)

	_, err = r.here.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	r.wake(p)
	require.Eventually(t, func() bool { return contains(r.details(run.GetID()), "wait for 1 lease") }, time.Minute, 50*time.Millisecond)
	require.NotZero(t, r.used(r.here))

	require.NoError(t, r.here.Release(t.Context(), lease.Token))
	require.Equal(t, payload.StateDeleted, r.result(run).State)
	require.Zero(t, r.used(r.here))
}

func TestAPayloadWithoutARecordEndsAtOnce(t *testing.T) {
	r := newRig(t)
	id, err := payload.NewID()
	require.NoError(t, err)

	require.Equal(t, contract.LifecycleResult{}, r.result(r.start(payload.Payload{ID: id, Namespace: "default"}, "here")))
}

func TestAnotherHostFreesItsOwn(t *testing.T) {
	r := newRig(t)
	p := r.put(r.there, 4096, payload.Policy{TTL: time.Second})
	run := r.start(p, "there")

	require.Equal(t, contract.LifecycleResult{State: payload.StateDeleted, Freed: 1, Bytes: 4096}, r.result(run))
	require.Zero(t, r.used(r.there))
	record(t, "own-elsewhere", r.history(run))
}

func TestUpAndDown(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, 1<<20, payload.Policy{Tier: payload.Disk})
	run := r.start(p, "here")

	up, err := r.move(contract.Promote, p, payload.RAM, "here")
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, up.Bytes)
	require.Equal(t, up.Version, r.record(p).Version)
	require.Eventually(t, func() bool { return contains(r.details(run.GetID()), "ram on here, disk on here") }, time.Minute, 50*time.Millisecond)
	require.Contains(t, r.details(run.GetID()), `a\|b`, "a name cannot break the table")

	down, err := r.move(contract.Spill, p, payload.Disk, "here")
	require.NoError(t, err)
	require.Zero(t, down.Bytes, "the copy on disk was there already")
	_, err = r.here.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	r.wake(p)

	got := r.result(run)
	require.Equal(t, payload.StateDeleted, got.State)
	require.Equal(t, 1, got.Moves)
	require.Zero(t, r.used(r.here))
	record(t, "moved", r.history(run))
}

func TestManyWhoWantOneCopyShareIt(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, 16<<20, payload.Policy{Tier: payload.Disk})
	run := r.start(p, "here")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := r.move(contract.Promote, p, payload.RAM, "here")
			require.NoError(t, err)
		})
	}
	all.Wait()

	_, err := r.here.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	r.wake(p)
	require.Equal(t, 1, r.result(run).Moves)
	require.Zero(t, r.used(r.here))
}

func TestMovesThatAreRefused(t *testing.T) {
	r := newRig(t)
	active := r.put(r.here, 4096, payload.Policy{})
	a, err := r.here.Allocate(t.Context(), placement.AllocateRequest{Namespace: "default", Size: 4096})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		update contract.Update[contract.MoveRequest, contract.MoveResult]
		p      payload.Payload
		to     payload.Tier
		host   string
		code   payload.Code
		reason payload.Reason
	}{
		"a tier that does not exist":  {contract.Promote, active, "tape", "here", payload.Invalid, ""},
		"up to the slowest tier":      {contract.Promote, active, payload.Object, "here", payload.Invalid, ""},
		"down to the fastest tier":    {contract.Spill, active, payload.GPU, "here", payload.Invalid, ""},
		"no host":                     {contract.Promote, active, payload.RAM, "", payload.Invalid, ""},
		"a tier that is off":          {contract.Promote, active, payload.GPU, "here", payload.Unsupported, payload.TierOff},
		"bytes that are elsewhere":    {contract.Promote, active, payload.RAM, "there", payload.WrongHost, ""},
		"a payload not committed yet": {contract.Promote, a.Payload, payload.Disk, "here", payload.Conflict, payload.NotCommitted},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.move(c.update, c.p, c.to, c.host)
			var refused *sdktemporal.ApplicationError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, string(c.code), refused.Type())
			var detail contract.Failure
			require.NoError(t, refused.Details(&detail))
			require.Equal(t, c.reason, detail.Reason)
		})
	}
}

func TestAMoveOfAGroupsMember(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, 4096, payload.Policy{Tier: payload.Disk})
	r.join(contract.GroupID("default", "here", t.Name()))

	_, err := r.move(contract.Promote, p, payload.RAM, "here")
	require.NoError(t, err)

	got := r.result(r.client.GetWorkflow(t.Context(), contract.LifecycleID("default", p.ID), ""))
	require.Equal(t, contract.LifecycleResult{State: payload.StateActive, Moves: 1}, got, "its group carries it on")
}

func TestACancelledLifecycleEnds(t *testing.T) {
	r := newRig(t)
	run := r.start(r.put(r.here, 4096, payload.Policy{}), "here")
	require.NoError(t, r.client.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()))
	require.True(t, sdktemporal.IsCanceledError(run.Get(t.Context(), nil)))
}

// A flood of payloads that die soon: one workflow ends them all.
func TestAGroupEndsAFlood(t *testing.T) {
	const members = 5000
	r := newRig(t)
	group := contract.GroupID("default", "here", t.Name())
	run := r.begin(group, string(contract.GroupLifecycle), contract.LifecycleInput{
		Target: contract.Target{Group: group, Host: "here"}, Namespace: "default",
	})
	began := time.Now()
	for range members {
		r.put(r.here, 64, payload.Policy{TTL: time.Second})
	}
	require.Equal(t, members, r.join(group))
	r.begin(group, string(contract.GroupLifecycle), contract.LifecycleInput{
		Target: contract.Target{Group: group, Host: "here"}, Namespace: "default",
	})
	require.Eventually(t, func() bool {
		ahead, err := r.catalog.Outlook(t.Context(), group)
		return err == nil && ahead.Open == 0
	}, 2*time.Minute, 50*time.Millisecond)
	require.Zero(t, r.used(r.here))
	t.Logf("%d payloads in one group: %d events, %v", members, len(r.history(run).Events), time.Since(began).Round(time.Millisecond))

	require.NoError(t, r.client.CancelWorkflow(t.Context(), group, ""), "it lingers for more")
	require.True(t, sdktemporal.IsCanceledError(run.Get(t.Context(), nil)))
	record(t, "group", r.history(run))
}
