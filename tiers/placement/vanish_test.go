package placement_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// A tier says what it lost, as ram does when its keeper dies with descriptors
// that nobody else had.
func TestWhatVanishesIsLostUnlessItIsSomewhereElse(t *testing.T) {
	r := newRig(t)
	only := r.put([]byte("in memory alone"), payload.Policy{})
	both := r.put([]byte("on disk, too"), payload.Policy{})
	_, _, err := r.Copy(t.Context(), both.ID, payload.Disk, nil)
	require.NoError(t, err)
	begun := r.allocate(10, payload.Policy{}).Payload
	spared := r.put([]byte("not lost"), payload.Policy{})
	lease := r.lease(only.ID)

	var lost []tiers.Found
	for _, p := range []payload.Payload{only, both, begun} {
		at, _ := p.At(payload.RAM, "alpha")
		lost = append(lost, tiers.Found{Location: at.Location, ID: p.ID, Attempt: at.Attempt, Size: p.Size})
	}
	unknown, err := payload.NewID()
	require.NoError(t, err)
	lost = append(lost, tiers.Found{ID: unknown, Attempt: 1})
	for range 2 {
		require.NoError(t, r.Vanished(t.Context(), payload.RAM, lost))
	}

	_, err = r.Resolve(t.Context(), "", only.ID)
	require.Equal(t, payload.Lost, payload.CodeOf(err))
	_, err = r.OpenToken(t.Context(), lease.Token)
	require.Error(t, err, "a lease on nothing opens nothing")
	require.NotEqual(t, payload.Internal, payload.CodeOf(err))
	d, err := r.Resolve(t.Context(), "", both.ID)
	require.NoError(t, err)
	require.Equal(t, payload.Disk, d.Tier)
	p, err := r.catalog.Get(t.Context(), "", begun.ID)
	require.NoError(t, err)
	require.Equal(t, payload.StateAborted, p.State)
	require.Equal(t, []byte("not lost"), r.read(r.lease(spared.ID).Token))
}
