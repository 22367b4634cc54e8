package catalogtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var upkeep = []example{
	{"hosts are listed by name", hosts},
	{"pruning forgets old tombstones only", pruned},
	{"pruning forgets old answers only", prunedAnswers},
}

func hosts(t *testing.T, s catalog.Store) {
	none, err := s.Hosts(context.Background())
	require.NoError(t, err)
	require.Empty(t, none)
	late := catalog.Host{Name: there, Address: "there:7000", Version: "1.0", BootID: "b", Seen: second(1)}
	early := catalog.Host{Name: here}
	for _, h := range []catalog.Host{late, early} {
		require.NoError(t, s.PutHost(context.Background(), h))
	}
	late.Seen, late.Address = second(9), ""
	require.NoError(t, s.PutHost(context.Background(), late))
	all, err := s.Hosts(context.Background())
	require.NoError(t, err)
	require.Equal(t, []catalog.Host{early, late}, all)
}

func prune(t *testing.T, s catalog.Store, before, limit int) int {
	t.Helper()
	count, err := s.Prune(context.Background(), second(before), limit)
	require.NoError(t, err)
	return count
}

// buried ends payload n at second n+2.
func buried(n int) catalog.Step {
	return then(n, catalog.Then{State: payload.StateAborted, Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}})
}

func pruned(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), buried(1), allocated(2), buried(2), allocated(3), buried(3), allocated(4), allocated(5))
	do(t, s, then(5, catalog.Then{State: payload.StateAborted, Retire: true}))
	require.Zero(t, prune(t, s, 100, 10), "the outbox has yet to tell of them")
	require.NoError(t, s.Settle(context.Background(), pending(t, s), "g"))
	require.Zero(t, prune(t, s, 3, 10), "none ended before that")
	require.Equal(t, 1, prune(t, s, 100, 1), "the limit holds")
	require.Equal(t, []int{2, 3, 4, 5}, list(t, s, catalog.Query{}), "the oldest goes first")
	require.Equal(t, 1, prune(t, s, 5, 10))
	require.Equal(t, 1, prune(t, s, 100, 10))
	require.Equal(t, []int{4, 5}, list(t, s, catalog.Query{}), "what lives, and what has bytes to free, stays")
	require.Equal(t, []int{4, 5}, list(t, s, catalog.Query{Tier: payload.RAM}))
	do(t, s, allocated(1))
}

func prunedAnswers(t *testing.T, s catalog.Store) {
	do(t, s, requested(allocated(1), "s", "one", "d"), requested(allocated(2), "s", "two", "d"), requested(allocated(3), "s", "three", "d"))
	require.Equal(t, 1, prune(t, s, 2, 10))
	require.Equal(t, 1, prune(t, s, 100, 1), "the limit holds")
	require.Equal(t, 3, list(t, s, catalog.Query{})[2], "their payloads stay")
	do(t, s, requested(allocated(11), "s", "one", "another"), requested(allocated(12), "s", "two", "another"))
	_, err := s.Do(context.Background(), requested(allocated(13), "s", "three", "another"))
	refused(t, err, payload.Conflict, payload.RequestReuse)
}
