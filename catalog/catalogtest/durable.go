package catalogtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// RunDurable asserts that a store which is opened again on the same database
// goes on where it stopped. open opens that database each time it is called;
// the suite closes what it returns.
func RunDurable(t *testing.T, open func(t *testing.T) catalog.Store) {
	s := open(t)
	town(t, s)
	do(t, s, requested(allocated(8), "s", "r", "d"))
	require.NoError(t, s.Settle(context.Background(), pending(t, s)[:3], "g"))
	host := catalog.Host{Name: here, Seen: second(1)}
	require.NoError(t, s.PutHost(context.Background(), host))
	before, err := s.List(context.Background(), catalog.Query{Limit: payload.MaxBatch})
	require.NoError(t, err)
	waiting := pending(t, s)
	require.NoError(t, s.Close())

	s = open(t)
	after, err := s.List(context.Background(), catalog.Query{Limit: payload.MaxBatch})
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, waiting, pending(t, s))
	known, err := s.Hosts(context.Background())
	require.NoError(t, err)
	require.Equal(t, []catalog.Host{host}, known)
	same(t, get(t, s, 8), do(t, s, requested(allocated(9), "s", "r", "d")))

	require.NoError(t, s.Settle(context.Background(), waiting, ""))
	do(t, s, committed(8))
	require.NoError(t, s.Settle(context.Background(), waiting, ""))
	require.Equal(t, []int{8}, subjects(pending(t, s)), "the outbox never counts from the beginning again")
	require.NoError(t, s.Close())
}
