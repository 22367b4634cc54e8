package activities_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/payload-manager/payload-manager/activities"
	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/catalog/memory"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/tiers/ram"
)

// A rig is two hosts on one catalog, each on real memory and a real disk, with
// a clock that tests set. Activities run on the host here.
type rig struct {
	t       *testing.T
	env     *testsuite.TestActivityEnvironment
	catalog *catalog.Catalog
	here    *placement.Host
	there   *placement.Host

	mu   sync.Mutex
	wall time.Time
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, wall: time.Unix(1_000_000, 0)}
	r.catalog = catalog.New(memory.New(), r.now)
	r.here, r.there = r.host("here"), r.host("there")
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	r.env = suite.NewTestActivityEnvironment()
	activities.Register(r.env, activities.New(r.here, r.catalog))
	return r
}

func (r *rig) host(name string) *placement.Host {
	files, err := disk.Open(disk.Options{Dir: r.t.TempDir(), Capacity: 64 << 20})
	require.NoError(r.t, err)
	set := tiers.NewSet(ram.New(ram.Options{Capacity: 64 << 20}), files)
	began := r.now()
	table := leases.New(func() time.Duration { return r.now().Sub(began) })
	h := placement.New(placement.Options{
		Name: name, Catalog: r.catalog, Leases: table, Tiers: set, Key: []byte("a key of thirty-two bytes length"),
	})
	r.t.Cleanup(func() {
		table.Stop()
		require.NoError(r.t, h.Close())
		require.NoError(r.t, set.Close())
	})
	require.NoError(r.t, h.Start(r.t.Context()))
	return h
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wall
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wall = r.wall.Add(d)
}

func (r *rig) put(h *placement.Host, policy payload.Policy) payload.Payload {
	r.t.Helper()
	a, err := h.Allocate(r.t.Context(), placement.AllocateRequest{Namespace: "default", Size: 4096, Policy: policy})
	require.NoError(r.t, err)
	p, err := h.Commit(r.t.Context(), catalog.Change{ID: a.Payload.ID}, payload.Checksum{})
	require.NoError(r.t, err)
	return p
}

func (r *rig) settle(group string) {
	r.t.Helper()
	backlog, err := r.catalog.Pending(r.t.Context(), payload.MaxBatch)
	require.NoError(r.t, err)
	require.NoError(r.t, r.catalog.Settle(r.t.Context(), backlog.Entries, group))
}

func do[In, Out any](r *rig, a contract.Activity[In, Out], in In) (out Out, err error) {
	got, err := r.env.ExecuteActivity(string(a), in)
	if err == nil {
		err = got.Get(&out)
	}
	return out, err
}

func TestTendingFreesAtHomeOnly(t *testing.T) {
	r := newRig(t)
	mine, other := r.put(r.here, payload.Policy{TTL: time.Minute}), r.put(r.there, payload.Policy{TTL: time.Minute})

	got, err := do(r, contract.Tend, contract.Target{ID: mine.ID, Host: "here"})
	require.NoError(t, err)
	require.Zero(t, got.Freed)
	require.Equal(t, contract.Outlook{
		Open: 1, Bytes: 4096, Next: mine.ExpiresAt.UTC(), Ever: true, Hosts: []string{"here"},
		State: payload.StateActive, Version: mine.Version, ExpiresAt: mine.ExpiresAt.UTC(),
		Placements: []contract.At{{Tier: payload.RAM, Host: "here", State: payload.Ready}},
	}, utc(got.Ahead))

	r.pass(time.Minute)
	for _, freed := range []int{1, 0} { // twice is once
		got, err = do(r, contract.Tend, contract.Target{ID: mine.ID, Host: "here"})
		require.NoError(t, err)
		require.Equal(t, freed, got.Freed)
		require.Equal(t, payload.StateDeleted, got.Ahead.State)
		require.Zero(t, got.Ahead.Open)
	}

	got, err = do(r, contract.Tend, contract.Target{ID: other.ID, Host: "there"})
	require.NoError(t, err)
	require.Empty(t, got.Host, "it only looked")
	require.Equal(t, []string{"there"}, got.Ahead.Hosts)
}

func TestReapingSaysWhoReads(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, payload.Policy{})
	_, err := r.here.Acquire(t.Context(), placement.AcquireRequest{ID: p.ID, Holder: "a reader", Duration: time.Minute})
	require.NoError(t, err)
	_, err = r.here.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)

	got, err := do(r, contract.Reap, contract.Target{ID: p.ID, Host: "here"})

	require.NoError(t, err)
	require.Equal(t, 1, got.Waiting)
	require.Equal(t, 1, got.Leases)
	require.True(t, got.Until.Equal(r.now().Add(time.Minute)))
	require.Equal(t, []string{"here"}, got.Ahead.Hosts)
}

func TestReapingAGroupSaysWhereElseSomethingIsDue(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.put(r.here, payload.Policy{TTL: time.Minute})
	}
	r.put(r.there, payload.Policy{TTL: time.Minute})
	r.put(r.here, payload.Policy{TTL: time.Hour})
	r.settle("g")
	r.pass(time.Minute)

	first, err := do(r, contract.Reap, contract.Target{Group: "g", Host: "here"})
	require.NoError(t, err)
	require.Equal(t, 3, first.Freed)
	require.Equal(t, 2, first.Ahead.Open)

	second, err := do(r, contract.Reap, contract.Target{Group: "g", Host: "here"})
	require.NoError(t, err)
	require.Zero(t, second.Freed)
	require.Contains(t, second.Ahead.Hosts, "there", "that payload has expired now, and its bytes are there")
}

func TestACopyIsMadeOnceAndGivenUp(t *testing.T) {
	r := newRig(t)
	p := r.put(r.here, payload.Policy{})
	for _, copied := range []int64{4096, 0} {
		got, err := do(r, contract.Copy, contract.CopyInput{ID: p.ID, To: payload.Disk, Host: "here"})
		require.NoError(t, err)
		require.Equal(t, copied, got.Bytes)
	}
	for range 2 {
		_, err := do(r, contract.Retire, contract.RetireInput{ID: p.ID, Faster: payload.Disk, Host: "here"})
		require.NoError(t, err)
	}
	got, err := do(r, contract.Reap, contract.Target{ID: p.ID, Host: "here"})
	require.NoError(t, err)
	require.Equal(t, 1, got.Freed)
	require.Equal(t, []contract.At{{Tier: payload.Disk, Host: "here", State: payload.Ready}}, got.Ahead.Placements)
}

func TestWhatNobodyKnowsIsNoFailureToReap(t *testing.T) {
	r := newRig(t)
	id, err := payload.NewID()
	require.NoError(t, err)
	got, err := do(r, contract.Reap, contract.Target{ID: id, Host: "here"})
	require.NoError(t, err)
	require.Equal(t, contract.Outlook{}, got.Ahead)
}

func TestFailuresCarryTheirCode(t *testing.T) {
	r := newRig(t)
	known := r.put(r.here, payload.Policy{TTL: time.Minute})
	unknown, err := payload.NewID()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		in        contract.CopyInput
		code      payload.Code
		reason    payload.Reason
		retryable bool
	}{
		"another host's queue": {contract.CopyInput{ID: known.ID, To: payload.Disk, Host: "there"}, payload.WrongHost, "", false},
		"an unknown payload":   {contract.CopyInput{ID: unknown, To: payload.Disk, Host: "here"}, payload.NotFound, "", false},
		"a tier that is off":   {contract.CopyInput{ID: known.ID, To: payload.GPU, Host: "here"}, payload.Unsupported, payload.TierOff, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := do(r, contract.Copy, c.in)
			var failed *temporal.ApplicationError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, string(c.code), failed.Type())
			require.Equal(t, c.retryable, !failed.NonRetryable())
			var detail contract.Failure
			require.NoError(t, failed.Details(&detail))
			require.Equal(t, c.reason, detail.Reason)
		})
	}
}

func TestASweepWakesWhatIsOverdueAndForgetsTombstones(t *testing.T) {
	r := newRig(t)
	old := r.put(r.here, payload.Policy{})
	_, err := r.here.Delete(t.Context(), catalog.Change{ID: old.ID})
	require.NoError(t, err)
	overdue := r.put(r.here, payload.Policy{TTL: time.Minute})
	r.put(r.here, payload.Policy{TTL: 3 * time.Hour})
	r.settle("")
	r.pass(2 * time.Hour)

	got, err := do(r, contract.SweepOverdue, contract.SweepInput{Grace: time.Minute, Retention: time.Hour})

	require.NoError(t, err)
	require.Equal(t, 1, got.Woken)
	require.NotZero(t, got.Forgotten)
	backlog, err := r.catalog.Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, backlog.Entries, 1)
	require.Equal(t, overdue.ID, backlog.Entries[0].Payload.ID)
	_, err = r.catalog.Get(t.Context(), "", old.ID)
	require.ErrorIs(t, err, payload.NotFound)
}

// utc undoes what JSON does to the location of a time.
func utc(o contract.Outlook) contract.Outlook {
	o.Next, o.ExpiresAt = o.Next.UTC(), o.ExpiresAt.UTC()
	return o
}
