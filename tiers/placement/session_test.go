package placement_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

func (r *rig) allocateIn(session string, tier payload.Tier) placement.Allocation {
	r.t.Helper()
	allocation, err := r.Allocate(r.t.Context(), placement.AllocateRequest{
		Namespace: "default", Size: mebibyte, Policy: payload.Policy{Tier: tier}, Session: session,
	})
	require.NoError(r.t, err)
	return allocation
}

func (r *rig) awaitEnded(id payload.ID) {
	r.t.Helper()
	_, err := r.AwaitEnd(r.t.Context(), "", id)
	require.NoError(r.t, err)
}

func TestASessionTakesItsLeasesAndItsAllocationsAlong(t *testing.T) {
	r := newRig(t)
	shared := r.put(frame(mebibyte), payload.Policy{})
	for _, session := range []string{"mine", "yours"} {
		_, err := r.Acquire(t.Context(), placement.AcquireRequest{ID: shared.ID, Session: session})
		require.NoError(t, err)
	}
	inMemory, onDisk := r.allocateIn("mine", payload.RAM), r.allocateIn("mine", payload.Disk)
	committed, yours := r.allocateIn("mine", payload.RAM), r.allocateIn("yours", payload.RAM)
	_, err := r.Commit(t.Context(), catalog.Change{ID: committed.Payload.ID}, payload.Checksum{})
	require.NoError(t, err)

	r.EndSession("mine")
	require.Equal(t, 1, r.Leases().Count, "at once, and nobody else's")
	r.awaitEnded(inMemory.Payload.ID)
	r.awaitEnded(onDisk.Payload.ID)
	require.Equal(t, payload.StateAborted, r.state(inMemory.Payload.ID))
	require.Equal(t, payload.StateAborted, r.state(onDisk.Payload.ID))
	require.Equal(t, payload.StateActive, r.state(committed.Payload.ID), "what was committed is not the session's any more")
	require.Equal(t, payload.StateAllocated, r.state(yours.Payload.ID))
	r.comesBack(payload.RAM, 3*mebibyte)
	r.comesBack(payload.Disk, 0)

	r.EndSession("mine")
	r.EndSession("")
	require.Equal(t, 1, r.Leases().Count, "ending twice is ending once, and leases without a session stay")
}

func TestAnAllocationThatTheCatalogCannotAbortNowIsLeftToItsDeadline(t *testing.T) {
	r := newRig(t)
	allocation := r.allocateIn("mine", payload.RAM)
	require.NoError(t, r.Close())
	r.EndSession("mine")
	require.Equal(t, payload.StateAllocated, r.state(allocation.Payload.ID))
}

func TestASessionIsKnownByItsOwnerAlsoAfterARestart(t *testing.T) {
	r := newRig(t)
	id := r.NewSession([]byte("process 7"))
	require.Len(t, id, placement.SessionIDLength)
	require.NotEqual(t, id, r.NewSession([]byte("process 7")))

	require.NoError(t, r.OwnsSession(id, []byte("process 7")))
	require.ErrorIs(t, r.OwnsSession(id, []byte("process 8")), payload.Denied)
	for i := range len(id) {
		forged := []byte(id)
		if forged[i] = 'A'; id[i] == 'A' {
			forged[i] = 'B'
		}
		require.ErrorIs(t, r.OwnsSession(string(forged), []byte("process 7")), payload.Denied, "letter %d", i)
	}
	for _, made := range []string{"", "mine", id + id, id[:len(id)-1]} {
		require.ErrorIs(t, r.OwnsSession(made, []byte("process 7")), payload.Denied)
	}
	r.restart()
	require.NoError(t, r.OwnsSession(id, []byte("process 7")))
}
