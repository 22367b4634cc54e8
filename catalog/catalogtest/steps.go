package catalogtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var steps = []example{
	{"a missing payload is not found", missing},
	{"a created payload comes back as it was put", created},
	{"a payload with every field set comes back as it was put", everyField},
	{"a payload is created once", createdOnce},
	{"every condition refuses with its code", conditions},
	{"conditions that hold let the step through", conditionsHold},
	{"a refused step writes nothing", refusedWritesNothing},
	{"every write changes its field", writes},
	{"a life from allocation to tombstone", life},
	{"an active payload without a ready copy is lost", lost},
	{"a caller who is gone gets its own error", cancelled},
	{"a closed store is unavailable", closed},
}

func missing(t *testing.T, s catalog.Store) {
	_, err := s.Get(context.Background(), id(1))
	refused(t, err, payload.NotFound, "")
	_, err = s.Do(context.Background(), committed(1))
	refused(t, err, payload.NotFound, "")
}

func created(t *testing.T, s catalog.Store) {
	step := allocated(1)
	answer := do(t, s, step)
	same(t, *step.Then.Create, answer)
	same(t, *step.Then.Create, get(t, s, 1))
}

func everyField(t *testing.T, s catalog.Store) {
	step := allocated(1)
	step.Then.Create = &payload.Payload{
		ID:        id(1),
		Namespace: "n",
		Name:      "a name with ' \" % and ümläuts",
		Size:      payload.MaxSize,
		Checksum:  payload.CRC32C(0xffffffff),
		Verified:  true,
		Policy:    payload.Policy{Tier: payload.GPU, TTL: payload.MaxTTL, Lifecycle: payload.LifecycleGroup, CommitWithin: time.Nanosecond},
		State:     payload.StateExpired,
		Version:   1 << 40,
		Group:     "group:n:1",
		CreatedAt: second(1), CommitBy: second(2), ActiveAt: second(3), ExpiresAt: second(4), EndedAt: second(5),
		Placements: []payload.Placement{
			{Tier: payload.Disk, Host: here, State: payload.Ready, Attempt: 1 << 40, Location: "a/b"},
			{Tier: payload.Disk, Host: there, State: payload.Retiring, Attempt: 2},
			{Tier: payload.GPU, Host: here, State: payload.Filling},
			{Tier: payload.Object, State: payload.Ready, Attempt: 3, Location: "bucket/key"},
		},
	}
	do(t, s, step)
	same(t, *step.Then.Create, get(t, s, 1))
}

func createdOnce(t *testing.T, s catalog.Store) {
	first := do(t, s, allocated(1))
	second := allocated(1)
	second.Then.Create.Name = "another"
	_, err := s.Do(context.Background(), second)
	refused(t, err, payload.AlreadyExists, "")
	same(t, first, get(t, s, 1))
}

func conditions(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), allocated(2), committed(2), allocated(3))
	do(t, s, then(3, catalog.Then{State: payload.StateAborted, Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}}))
	allocatedOnly := []payload.State{payload.StateAllocated}
	activeOnly := []payload.State{payload.StateActive}
	inRAM := func(c catalog.PlacementIf) *catalog.PlacementIf {
		c.Tier, c.Host = payload.RAM, here
		return &c
	}
	for name, c := range map[string]struct {
		n      int
		when   catalog.If
		code   payload.Code
		reason payload.Reason
	}{
		"absent":              {1, catalog.If{Absent: true}, payload.AlreadyExists, ""},
		"another namespace":   {1, catalog.If{Namespace: "others"}, payload.NotFound, ""},
		"a stale version":     {2, catalog.If{Version: 1}, payload.Conflict, payload.StaleVersion},
		"not committed yet":   {1, catalog.If{States: activeOnly}, payload.Conflict, payload.NotCommitted},
		"committed already":   {2, catalog.If{States: allocatedOnly}, payload.Conflict, ""},
		"a tombstone":         {3, catalog.If{States: activeOnly}, payload.NotFound, ""},
		"not expired yet":     {2, catalog.If{DueBy: second(3601)}, payload.Conflict, ""},
		"never expires":       {1, catalog.If{DueBy: second(1e9)}, payload.Conflict, ""},
		"a placement exists":  {1, catalog.If{Placement: inRAM(catalog.PlacementIf{Absent: true})}, payload.Conflict, ""},
		"no such placement":   {1, catalog.If{Placement: &catalog.PlacementIf{Tier: payload.RAM, Host: there}}, payload.Conflict, ""},
		"the placement fills": {1, catalog.If{Placement: inRAM(catalog.PlacementIf{States: []payload.PlacementState{payload.Ready}})}, payload.Conflict, ""},
		"another attempt":     {1, catalog.If{Placement: inRAM(catalog.PlacementIf{Attempt: 2})}, payload.Conflict, ""},
		"no such source":      {1, catalog.If{Placement: inRAM(catalog.PlacementIf{}), Source: &catalog.PlacementIf{Tier: payload.Object}}, payload.Conflict, ""},
	} {
		_, err := s.Do(context.Background(), given(c.n, c.when))
		require.ErrorIs(t, err, c.code, name)
		require.Equal(t, c.reason, payload.ReasonOf(err), name)
		require.ErrorContains(t, err, "ask "+id(c.n).String(), name)
	}
}

func conditionsHold(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), committed(1))
	do(t, s, then(1, catalog.Then{Put: &payload.Placement{Tier: payload.Object, State: payload.Ready, Attempt: 7}}))
	for name, when := range map[string]catalog.If{
		"nothing asked":        {},
		"its namespace":        {Namespace: "pipelines"},
		"its version":          {Version: 3},
		"one of its states":    {States: []payload.State{payload.StateAllocated, payload.StateActive}},
		"expired by then":      {DueBy: second(3601 + 3600)},
		"its attempt":          {Placement: &catalog.PlacementIf{Tier: payload.RAM, Host: here, Attempt: 1}},
		"the shared placement": {Source: &catalog.PlacementIf{Tier: payload.Object, Host: there, Attempt: 7}},
		"absent elsewhere":     {Placement: &catalog.PlacementIf{Tier: payload.RAM, Host: there, Absent: true}},
	} {
		_, err := s.Do(context.Background(), given(1, when))
		require.NoError(t, err, name)
	}
	require.EqualValues(t, 3, get(t, s, 1).Version, "a step that only asks changes no version")
}

func refusedWritesNothing(t *testing.T, s catalog.Store) {
	before := do(t, s, allocated(1), committed(1))
	require.NoError(t, s.Settle(context.Background(), pending(t, s), ""))
	step := committed(1)
	step.Request = catalog.Request{Scope: "s", ID: "r", Digest: []byte("d")}
	_, err := s.Do(context.Background(), step)
	refused(t, err, payload.Conflict, "")
	same(t, before, get(t, s, 1))
	require.Empty(t, pending(t, s))
}

func writes(t *testing.T, s catalog.Store) {
	never := time.Time{}
	want := do(t, s, allocated(1), committed(1))
	check := func(what catalog.Then) {
		t.Helper()
		same(t, want, do(t, s, then(1, what)))
		same(t, want, get(t, s, 1))
	}

	want.Checksum = payload.CRC32C(7)
	check(catalog.Then{Checksum: payload.CRC32C(7)})
	want.ActiveAt = second(50)
	check(catalog.Then{ActiveAt: second(50)})
	want.ExpiresAt = time.Time{}
	check(catalog.Then{ExpiresAt: &never})

	copying := filling(payload.Disk, here)
	want.Placements = []payload.Placement{copying, ready(payload.RAM, here)}
	check(catalog.Then{Put: &copying})
	copying.State, copying.Attempt, copying.Location = payload.Ready, 2, "elsewhere"
	want.Placements = []payload.Placement{copying, ready(payload.RAM, here)}
	want.Version++
	check(catalog.Then{Put: &copying})
	want.Placements = []payload.Placement{copying}
	want.Version++
	check(catalog.Then{Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}})

	copying.State = payload.Retiring
	want.State, want.Placements = payload.StateDeleting, []payload.Placement{copying}
	want.Version++
	check(catalog.Then{State: payload.StateDeleting, Retire: true})
}

func life(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), committed(1))
	expired := do(t, s, catalog.Step{
		Op: "expire", ID: id(1), Now: second(4000),
		If:   catalog.If{DueBy: second(4000), States: []payload.State{payload.StateActive}},
		Then: catalog.Then{State: payload.StateExpired, Retire: true, Wake: true},
	})
	require.Equal(t, payload.StateExpired, expired.State)
	require.Zero(t, expired.EndedAt)
	do(t, s, catalog.Step{Op: "free", ID: id(1), Now: second(4001), Then: catalog.Then{Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}}})
	tombstone := get(t, s, 1)
	require.Equal(t, payload.StateDeleted, tombstone.State)
	require.Equal(t, second(4001), tombstone.EndedAt)
	require.Empty(t, tombstone.Placements)
	require.EqualValues(t, 4, tombstone.Version)
}

func lost(t *testing.T, s catalog.Store) {
	copying := filling(payload.Disk, here)
	do(t, s, allocated(1), committed(1), then(1, catalog.Then{Put: &copying}))
	gone := do(t, s, then(1, catalog.Then{Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}}))
	require.Equal(t, payload.StateLost, gone.State)
	require.Equal(t, payload.Retiring, gone.Placements[0].State)
	same(t, gone, get(t, s, 1))
}

func cancelled(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1))
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Do(gone, committed(1))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Get(gone, id(1))
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.List(gone, catalog.Query{Limit: 1})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Outlook(gone, "g")
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Pending(gone, 1)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Settle(gone, pending(t, s), "g"), context.Canceled)
	require.ErrorIs(t, s.PutHost(gone, catalog.Host{Name: here}), context.Canceled)
	_, err = s.Hosts(gone)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Prune(gone, second(1), 1)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, payload.StateAllocated, get(t, s, 1).State, "the others are not disturbed")
}

func closed(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1))
	require.NoError(t, s.Close())
	_, err := s.Do(context.Background(), committed(1))
	refused(t, err, payload.Unavailable, "")
	_, err = s.Get(context.Background(), id(1))
	refused(t, err, payload.Unavailable, "")
	refused(t, s.PutHost(context.Background(), catalog.Host{Name: here}), payload.Unavailable, "")
	require.NoError(t, s.Close(), "closing twice does nothing")
}
