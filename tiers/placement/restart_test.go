package placement_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/memory"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

func TestALeaseOutlivesTheDaemonAndHoldsItsBytes(t *testing.T) {
	r := newRig(t)
	content := frame(mebibyte)
	p := r.put(content, payload.Policy{Tier: payload.Disk})
	request := placement.AcquireRequest{ID: p.ID, Request: "r", Session: "s", Holder: "a test", Duration: time.Minute}
	lease, err := r.Acquire(t.Context(), request)
	require.NoError(t, err)
	r.pass(20 * time.Second)

	r.restart()

	require.Equal(t, content, r.read(lease.Token), "the token is worth what it was")
	again, err := r.Acquire(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, lease.ID, again.ID)
	require.Equal(t, lease.Token, again.Token)
	require.Equal(t, 40*time.Second, again.Remaining)
	renewal, err := r.Renew(t.Context(), lease.Token, payload.MaxLease)
	require.NoError(t, err)
	require.Equal(t, payload.MaxLease, renewal.Remaining)

	_, err = r.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	r.restart() // doomed and still read

	require.Equal(t, content, r.read(lease.Token))
	require.EqualValues(t, len(content), r.used(payload.Disk))
	_, err = r.Renew(t.Context(), lease.Token, payload.MaxLease)
	require.Error(t, err)
	drain, err := r.Reap(t.Context(), p.ID)
	require.NoError(t, err)
	require.Equal(t, placement.Drain{Waiting: 1, Leases: 1, Within: payload.MaxLease}, drain)
	require.NoError(t, r.Release(t.Context(), lease.Token))
	r.comesBack(payload.Disk, 0)
	require.Equal(t, payload.StateDeleted, r.state(p.ID))
}

func TestWhatALeaseHeldBackIsFreedAfterTheRestart(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(100), payload.Policy{Tier: payload.Disk})
	r.lease(p.ID)
	_, err := r.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	r.stop()
	r.pass(payload.DefaultLease)
	require.Equal(t, payload.StateDeleting, r.state(p.ID))

	r.start()
	r.comesBack(payload.Disk, 0)
	require.Equal(t, payload.StateDeleted, r.state(p.ID))
}

func TestALeaseOnMemoryThatIsGoneReadsNothing(t *testing.T) {
	r := newRig(t)
	content := frame(100)
	p := r.put(content, payload.Policy{})
	_, _, err := r.Copy(t.Context(), p.ID, payload.Disk, nil)
	require.NoError(t, err)
	inRAM := r.lease(p.ID)
	require.Equal(t, payload.RAM, inRAM.Descriptor.Tier)

	r.restart()

	_, err = r.OpenToken(t.Context(), inRAM.Token)
	require.ErrorIs(t, err, payload.Lost)
	_, err = r.Renew(t.Context(), inRAM.Token, time.Minute)
	require.ErrorIs(t, err, payload.Conflict)
	onDisk := r.lease(p.ID)
	require.Equal(t, payload.Disk, onDisk.Descriptor.Tier)
	require.Equal(t, content, r.read(onDisk.Token))
	require.Equal(t, map[payload.Tier]int{payload.Disk: 1}, r.LeasesOn(p.ID))
	require.NoError(t, r.Release(t.Context(), inRAM.Token))
}

func TestALeaseOnWhatTheCatalogDoesNotKnowReadsNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(100), payload.Policy{Tier: payload.Disk})
	lease := r.lease(p.ID)
	r.store = memory.New()
	r.restart()
	require.Empty(t, r.leases.Keys())
	_, err := r.OpenToken(t.Context(), lease.Token)
	require.ErrorIs(t, err, payload.Lost)
	require.Positive(t, r.used(payload.Disk), "bytes that no record knows are left alone")
}
