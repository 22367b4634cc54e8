package placement_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/catalog/memory"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/tiers/ram"
)

const mebibyte = 1 << 20

// A rig is one host on real memory and a real disk, with clocks that tests set.
type rig struct {
	*placement.Host
	t       *testing.T
	store   catalog.Store
	catalog *catalog.Catalog
	tiers   *tiers.Set
	leases  *leases.Table
	dir     string

	mu   sync.Mutex
	wall time.Time
	boot time.Duration
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, store: memory.New(), dir: t.TempDir(), wall: time.Unix(1_000_000, 0), boot: time.Hour}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start() {
	r.catalog = catalog.New(r.store, r.now)
	files, err := disk.Open(disk.Options{Dir: filepath.Join(r.dir, "disk"), Capacity: 256 * mebibyte})
	require.NoError(r.t, err)
	r.tiers = tiers.NewSet(ram.New(ram.Options{Capacity: 64 * mebibyte}), files)
	r.leases, err = leases.Open(leases.Journal{Path: filepath.Join(r.dir, "leases.journal"), BootID: "a boot"}, r.uptime)
	require.NoError(r.t, err)
	r.Host = placement.New(placement.Options{
		Name: "alpha", Catalog: r.catalog, Leases: r.leases, Tiers: r.tiers, Key: []byte("a key of thirty-two bytes length"),
	})
	require.NoError(r.t, r.Host.Start(context.Background()))
}

func (r *rig) stop() {
	require.NoError(r.t, r.Host.Close())
	r.leases.Stop()
	require.NoError(r.t, r.tiers.Close())
}

func (r *rig) restart() {
	r.stop()
	r.start()
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wall
}

func (r *rig) uptime() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.boot
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wall, r.boot = r.wall.Add(d), r.boot+d
}

func (r *rig) allocate(size int64, policy payload.Policy) placement.Allocation {
	r.t.Helper()
	allocation, err := r.Allocate(r.t.Context(), placement.AllocateRequest{Namespace: "default", Size: size, Policy: policy})
	require.NoError(r.t, err)
	return allocation
}

func (r *rig) write(token payload.Token, content []byte) {
	r.t.Helper()
	opened, err := r.OpenToken(r.t.Context(), token)
	require.NoError(r.t, err)
	_, err = opened.File.WriteAt(content, opened.Offset)
	require.NoError(r.t, err)
	require.NoError(r.t, opened.Close())
}

// put carries a payload to active.
func (r *rig) put(content []byte, policy payload.Policy) payload.Payload {
	r.t.Helper()
	allocation := r.allocate(int64(len(content)), policy)
	r.write(allocation.Token, content)
	p, err := r.Commit(r.t.Context(), catalog.Change{ID: allocation.Payload.ID}, payload.Sum(content))
	require.NoError(r.t, err)
	return p
}

func (r *rig) lease(id payload.ID) payload.Lease {
	r.t.Helper()
	lease, err := r.Acquire(r.t.Context(), placement.AcquireRequest{ID: id, Holder: "a test"})
	require.NoError(r.t, err)
	return lease
}

func (r *rig) read(token payload.Token) []byte {
	r.t.Helper()
	opened, err := r.OpenToken(r.t.Context(), token)
	require.NoError(r.t, err)
	defer opened.Close()
	require.False(r.t, opened.Writable)
	content, err := io.ReadAll(io.NewSectionReader(opened.File, opened.Offset, opened.Size))
	require.NoError(r.t, err)
	return content
}

func (r *rig) used(tier payload.Tier) int64 {
	r.t.Helper()
	stats, err := r.Stats(r.t.Context())
	require.NoError(r.t, err)
	for _, s := range stats {
		if s.Tier == tier {
			return s.Used
		}
	}
	r.t.Fatalf("no tier %s", tier)
	return 0
}

// comesBack waits until a tier holds no more than want bytes: memory is freed
// off the request path.
func (r *rig) comesBack(tier payload.Tier, want int64) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.used(tier) == want }, 10*time.Second, time.Millisecond)
}

func (r *rig) state(id payload.ID) payload.State {
	r.t.Helper()
	p, err := r.catalog.Get(r.t.Context(), "", id)
	require.NoError(r.t, err)
	return p.State
}

func frame(size int) []byte { return bytes.Repeat([]byte("frame 17"), size/8+1)[:size] }

func TestALifeFromAllocationToTombstone(t *testing.T) {
	r := newRig(t)
	content := frame(3*mebibyte + 5)

	p := r.put(content, payload.Policy{})
	require.Equal(t, payload.StateActive, p.State)

	lease := r.lease(p.ID)
	require.Equal(t, payload.RAM, lease.Descriptor.Tier)
	require.Equal(t, content, r.read(lease.Token))
	require.NoError(t, r.Release(t.Context(), lease.Token))
	require.NoError(t, r.Release(t.Context(), lease.Token), "releasing twice is releasing once")

	p, err := r.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	require.Equal(t, payload.StateDeleted, p.State, "nobody held it: freed at once")
	r.comesBack(payload.RAM, 0)
}

func TestALeaseOutlivesDeleteAndExpiry(t *testing.T) {
	for name, doom := range map[string]func(r *rig, id payload.ID){
		"delete": func(r *rig, id payload.ID) {
			_, err := r.Delete(r.t.Context(), catalog.Change{ID: id})
			require.NoError(r.t, err)
		},
		"expiry": func(r *rig, id payload.ID) { r.pass(20 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			content := frame(mebibyte)
			p := r.put(content, payload.Policy{TTL: 20 * time.Second})
			lease := r.lease(p.ID)

			doom(r, p.ID)
			_, err := r.Acquire(t.Context(), placement.AcquireRequest{ID: p.ID})
			require.Error(t, err, "a doomed payload takes no new leases")
			_, err = r.Renew(t.Context(), lease.Token, time.Minute)
			require.Error(t, err, "nor renewals")

			drain, err := r.Reap(t.Context(), p.ID)
			require.NoError(t, err)
			require.Equal(t, 1, drain.Waiting)
			require.Equal(t, content, r.read(lease.Token), "the lease still reads the same bytes")

			require.NoError(t, r.Release(t.Context(), lease.Token))
			ended, err := r.AwaitEnd(t.Context(), "", p.ID)
			require.NoError(t, err)
			require.Equal(t, payload.StateDeleted, ended.State)
			r.comesBack(payload.RAM, 0)
		})
	}
}

func TestATimeToLiveNeverFiresEarly(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(100), payload.Policy{TTL: time.Minute})

	r.pass(time.Minute - 1)
	drain, err := r.Reap(t.Context(), p.ID)
	require.NoError(t, err)
	require.Zero(t, drain)
	require.Equal(t, payload.StateActive, r.state(p.ID))

	r.pass(1)
	_, err = r.Resolve(t.Context(), "", p.ID)
	require.ErrorIs(t, err, payload.Expired, "it takes effect by the clock, before anything is freed")
	drain, err = r.Reap(t.Context(), p.ID)
	require.NoError(t, err)
	require.Equal(t, placement.Drain{Freed: 1, Bytes: 100}, drain)
	require.Equal(t, payload.StateDeleted, r.state(p.ID))
}

func TestExtendingMovesTheEnd(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(100), payload.Policy{TTL: time.Minute})

	_, previous, err := r.Extend(t.Context(), catalog.Change{ID: p.ID}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, p.ExpiresAt, previous)

	r.pass(2 * time.Minute)
	r.lease(p.ID)
	r.pass(time.Hour)
	_, _, err = r.Extend(t.Context(), catalog.Change{ID: p.ID}, time.Hour)
	require.ErrorIs(t, err, payload.Expired, "what is over cannot be extended")
}

func TestAPayloadIsReadableAllTheTimeWhileItMoves(t *testing.T) {
	r := newRig(t)
	content := frame(20 * mebibyte)
	p := r.put(content, payload.Policy{})
	inRAM := r.lease(p.ID)

	var reported int64
	p, copied, err := r.Copy(t.Context(), p.ID, payload.Disk, func(done, total int64) { reported = done })
	require.NoError(t, err)
	require.EqualValues(t, len(content), copied)
	require.Equal(t, copied, reported)
	require.True(t, p.Verified)

	p, err = r.Retire(t.Context(), p.ID, payload.Disk)
	require.NoError(t, err)
	drain, err := r.Reap(t.Context(), p.ID)
	require.NoError(t, err)
	require.Equal(t, 1, drain.Waiting, "the reader in ram is waited for")
	require.Equal(t, content, r.read(inRAM.Token))

	onDisk := r.lease(p.ID)
	require.Equal(t, payload.Disk, onDisk.Descriptor.Tier)
	require.Equal(t, content, r.read(onDisk.Token))

	require.NoError(t, r.Release(t.Context(), inRAM.Token))
	_, err = r.Reap(t.Context(), p.ID)
	require.NoError(t, err)
	r.comesBack(payload.RAM, 0)

	_, copied, err = r.Copy(t.Context(), p.ID, payload.RAM, nil)
	require.NoError(t, err)
	require.EqualValues(t, len(content), copied)
	again := r.lease(p.ID)
	require.Equal(t, payload.RAM, again.Descriptor.Tier, "promotion serves from the faster tier")
	require.Equal(t, content, r.read(again.Token))

	_, copied, err = r.Copy(t.Context(), p.ID, payload.Disk, nil)
	require.NoError(t, err)
	require.Zero(t, copied, "the durable copy below was kept: spilling a clean payload copies nothing")
}

func TestConcurrentCopiesToOneTargetAreOne(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(8*mebibyte), payload.Policy{})

	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			_, _, err := r.Copy(context.Background(), p.ID, payload.Disk, nil)
			require.NoError(t, err)
		})
	}
	all.Wait()
	require.EqualValues(t, 8*mebibyte, r.used(payload.Disk))
}

func TestTheLastCopyNeverRetires(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(100), payload.Policy{})
	_, err := r.Retire(t.Context(), p.ID, payload.Disk)
	require.Error(t, err)
	r.lease(p.ID)
}

func TestAFullTierRefusesAndGivesEverythingBack(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(60*mebibyte), payload.Policy{})

	_, err := r.Allocate(t.Context(), placement.AllocateRequest{Namespace: "default", Size: 5 * mebibyte})
	require.ErrorIs(t, err, payload.Exhausted)
	require.Equal(t, payload.TierFull, payload.ReasonOf(err))

	onDisk := r.put(frame(5*mebibyte), payload.Policy{Tier: payload.Disk})
	_, _, err = r.Copy(t.Context(), onDisk.ID, payload.RAM, nil)
	require.ErrorIs(t, err, payload.Exhausted)
	require.Equal(t, onDisk.Placements, placementsOf(r, onDisk.ID), "a copy that failed leaves nothing behind")

	_, err = r.Delete(t.Context(), catalog.Change{ID: p.ID})
	require.NoError(t, err)
	r.comesBack(payload.RAM, 0) // once the checksum behind the commit has let go of it
	r.allocate(5*mebibyte, payload.Policy{})
}

func placementsOf(r *rig, id payload.ID) []payload.Placement {
	p, err := r.catalog.Get(r.t.Context(), "", id)
	require.NoError(r.t, err)
	return p.Placements
}

func TestCommitProvesThatTheWriterLetGo(t *testing.T) {
	for _, tier := range []payload.Tier{payload.RAM, payload.Disk} {
		t.Run(string(tier), func(t *testing.T) {
			r := newRig(t)
			content := frame(mebibyte)
			allocation := r.allocate(mebibyte, payload.Policy{Tier: tier})
			held := mapWritable(t, r, allocation.Token)
			copy(held.bytes, content)

			_, err := r.Commit(t.Context(), catalog.Change{ID: allocation.Payload.ID}, payload.Checksum{})
			require.ErrorIs(t, err, payload.Busy)
			require.Equal(t, payload.StillMapped, payload.ReasonOf(err))
			require.Equal(t, payload.StateAllocated, r.state(allocation.Payload.ID))

			held.letGo(t)
			_, err = r.Commit(t.Context(), catalog.Change{ID: allocation.Payload.ID}, payload.Sum(content))
			require.NoError(t, err)
			_, err = r.OpenToken(t.Context(), allocation.Token)
			require.ErrorIs(t, err, payload.Conflict, "a write token is worth nothing after commit")
		})
	}
}

// The door closes its own copy of a file after it has sent it: a quick producer
// has written and asks to commit before that.
func TestCommitWaitsForTheDoorsOwnCopy(t *testing.T) {
	r := newRig(t)
	for range 50 {
		allocation := r.allocate(100, payload.Policy{Tier: payload.Disk})
		opened, err := r.OpenToken(t.Context(), allocation.Token)
		require.NoError(t, err)
		committed := make(chan error, 1)
		go func() {
			_, err := r.Commit(context.Background(), catalog.Change{ID: allocation.Payload.ID}, payload.Checksum{})
			committed <- err
		}()
		require.NoError(t, opened.Close())
		require.NoError(t, <-committed)
	}
}

func TestWrongBytesAreNotCommitted(t *testing.T) {
	r := newRig(t)
	allocation := r.allocate(100, payload.Policy{})
	r.write(allocation.Token, frame(100))

	_, err := r.Commit(t.Context(), catalog.Change{ID: allocation.Payload.ID}, payload.CRC32C(1))
	require.ErrorIs(t, err, payload.Corrupt)

	_, err = r.Abort(t.Context(), catalog.Change{ID: allocation.Payload.ID})
	require.NoError(t, err)
	r.comesBack(payload.RAM, 0)
}

func TestAWrongClaimAboutManyBytesIsFoundBehindTheCommit(t *testing.T) {
	r := newRig(t)
	allocation := r.allocate(mebibyte, payload.Policy{})
	r.write(allocation.Token, frame(mebibyte))

	_, err := r.Commit(t.Context(), catalog.Change{ID: allocation.Payload.ID}, payload.CRC32C(1))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := r.Acquire(t.Context(), placement.AcquireRequest{ID: allocation.Payload.ID})
		return errors.Is(err, payload.Lost)
	}, 10*time.Second, time.Millisecond, "no lease is given on it any more")
	require.Equal(t, payload.StateLost, r.state(allocation.Payload.ID))
}

func TestAnAllocationThatNobodyCommitsIsAborted(t *testing.T) {
	r := newRig(t)
	allocation := r.allocate(mebibyte, payload.Policy{CommitWithin: time.Minute})

	r.pass(time.Minute)
	drain, err := r.Reap(t.Context(), allocation.Payload.ID)
	require.NoError(t, err)
	require.Equal(t, 1, drain.Freed)
	require.Equal(t, payload.StateAborted, r.state(allocation.Payload.ID))
	r.comesBack(payload.RAM, 0)
}

func TestARepeatedAllocateReturnsTheFirstAnswer(t *testing.T) {
	r := newRig(t)
	ask := placement.AllocateRequest{Namespace: "default", Size: 40 * mebibyte, Request: catalog.Request{Scope: "default", ID: "one", Digest: []byte("x")}}
	first, err := r.Allocate(t.Context(), ask)
	require.NoError(t, err)

	second, err := r.Allocate(t.Context(), ask)
	require.NoError(t, err, "also when the tier has no room for another")
	require.Equal(t, first, second, "the token included")
	require.EqualValues(t, 40*mebibyte, r.used(payload.RAM))

	ask.Size, ask.Request.Digest = 1, []byte("y")
	_, err = r.Allocate(t.Context(), ask)
	require.Equal(t, payload.RequestReuse, payload.ReasonOf(err))
	r.comesBack(payload.RAM, 40*mebibyte)
}

func TestARepeatedAcquireIsOnThePlacementOfTheFirst(t *testing.T) {
	r := newRig(t)
	content := frame(mebibyte)
	p := r.put(content, payload.Policy{Tier: payload.Disk})
	ask := placement.AcquireRequest{Request: "one", ID: p.ID}
	first, err := r.Acquire(t.Context(), ask)
	require.NoError(t, err)
	_, _, err = r.Copy(t.Context(), p.ID, payload.RAM, nil)
	require.NoError(t, err)

	second, err := r.Acquire(t.Context(), ask)
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	require.Equal(t, payload.Disk, second.Descriptor.Tier, "although ram would be better now")
	require.Equal(t, content, r.read(second.Token))
}

func TestForgedTokensOpenNothing(t *testing.T) {
	r := newRig(t)
	p := r.put(frame(100), payload.Policy{})
	lease := r.lease(p.ID)
	for i := range lease.Token {
		forged := bytes.Clone(lease.Token)
		forged[i] ^= 1
		_, err := r.OpenToken(t.Context(), forged)
		require.ErrorIs(t, err, payload.Denied, "byte %d", i)
	}
	for _, forged := range []payload.Token{nil, {}, {2}, bytes.Repeat([]byte{2}, 17), bytes.Repeat([]byte{1}, 4096)} {
		_, err := r.OpenToken(t.Context(), forged)
		require.ErrorIs(t, err, payload.Denied)
		require.ErrorIs(t, r.Release(t.Context(), forged), payload.Denied)
	}
}

func TestARestartKeepsTheDiskAndReportsLostMemory(t *testing.T) {
	r := newRig(t)
	content := frame(2 * mebibyte)
	inRAM := r.put(content, payload.Policy{})
	onDisk := r.put(content, payload.Policy{Tier: payload.Disk})
	both := r.put(content, payload.Policy{})
	_, _, err := r.Copy(t.Context(), both.ID, payload.Disk, nil)
	require.NoError(t, err)
	unwritten := r.allocate(100, payload.Policy{})
	retiring := r.put(content, payload.Policy{Tier: payload.Disk})
	r.lease(retiring.ID)
	_, err = r.Delete(t.Context(), catalog.Change{ID: retiring.ID})
	require.NoError(t, err)

	r.restart()

	require.Equal(t, payload.StateLost, r.state(inRAM.ID))
	require.Equal(t, payload.StateAborted, r.state(unwritten.Payload.ID))
	for _, id := range []payload.ID{onDisk.ID, both.ID} {
		lease := r.lease(id)
		require.Equal(t, payload.Disk, lease.Descriptor.Tier)
		require.Equal(t, content, r.read(lease.Token))
	}
	_, err = r.Acquire(t.Context(), placement.AcquireRequest{ID: retiring.ID})
	require.Error(t, err, "what the catalog calls doomed is closed before anything is served")
	require.EqualValues(t, 3*len(content), r.used(payload.Disk))
}

func TestSlowWorkOnOnePayloadDoesNotDelayAnother(t *testing.T) {
	r := newRig(t)
	quick := r.put(frame(100), payload.Policy{})
	slow := r.put(frame(100), payload.Policy{})
	r.lease(slow.ID)
	_, err := r.Delete(t.Context(), catalog.Change{ID: slow.ID})
	require.NoError(t, err)

	waiting, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.AwaitEnd(waiting, "", slow.ID)
		ended <- err
	}()
	for range 1000 {
		require.NoError(t, r.Release(t.Context(), r.lease(quick.ID).Token))
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled, "it was still waiting for its lease")
}

// Whatever many callers do at once, no reader ever sees other bytes than its
// payload's, and in the end every byte comes back.
func TestManyHandsOnFewPayloads(t *testing.T) {
	r := newRig(t)
	var contents [8][]byte
	var ids [8]payload.ID
	for i := range ids {
		contents[i] = bytes.Repeat(fmt.Appendf(nil, "payload %d;", i), 20_000)
		ids[i] = r.put(contents[i], payload.Policy{}).ID
	}
	var hands sync.WaitGroup
	for hand := range 12 {
		hands.Go(func() {
			for round := range 40 {
				i := (hand*7 + round*3) % len(ids)
				switch (hand + round) % 6 {
				case 0:
					r.Copy(context.Background(), ids[i], payload.Disk, nil)
				case 1:
					r.Copy(context.Background(), ids[i], payload.RAM, nil)
				case 2:
					r.Retire(context.Background(), ids[i], payload.Disk)
				case 3:
					r.Reap(context.Background(), ids[i])
				default:
					readOnce(t, r, ids[i], contents[i])
				}
			}
		})
	}
	hands.Wait()
	for i, id := range ids {
		readOnce(t, r, id, contents[i])
		_, err := r.Delete(t.Context(), catalog.Change{ID: id})
		require.NoError(t, err)
		_, err = r.Reap(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, payload.StateDeleted, r.state(id))
	}
	r.comesBack(payload.RAM, 0)
	r.comesBack(payload.Disk, 0)
}

func readOnce(t *testing.T, r *rig, id payload.ID, content []byte) {
	lease, err := r.Acquire(context.Background(), placement.AcquireRequest{ID: id})
	require.NoError(t, err, "a payload is readable all the time")
	opened, err := r.OpenToken(context.Background(), lease.Token)
	require.NoError(t, err)
	defer opened.Close()
	got, err := io.ReadAll(io.NewSectionReader(opened.File, 0, opened.Size))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got), "a reader saw other bytes")
	require.NoError(t, r.Release(context.Background(), lease.Token))
}
