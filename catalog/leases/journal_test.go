package leases_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

const boot = "6a2e0a2c-5f0e-4a57-9a40-0f3c4b4d1e11"

// A daemon is a table with a journal, which can be killed and started again.
type daemon struct {
	*leases.Table
	t       require.TestingT
	journal leases.Journal
	now     func() time.Duration
}

func newDaemon(t *testing.T, now func() time.Duration) *daemon {
	d := &daemon{t: t, journal: leases.Journal{Path: filepath.Join(memoryDir(t), "leases.journal"), BootID: boot}, now: now}
	d.start()
	return d
}

// memoryDir is a folder in memory: what these tests are about is there before
// any disk is, and the many files that they make would keep one busy.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "leases")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func (d *daemon) start() {
	table, err := leases.Open(d.journal, d.now)
	require.NoError(d.t, err)
	d.Table = table
}

// kill starts the daemon anew from what the file holds at this moment. What the
// old table does to its file afterwards, nobody sees.
func (d *daemon) kill() {
	left, err := os.ReadFile(d.journal.Path)
	require.NoError(d.t, err)
	d.Stop()
	require.NoError(d.t, os.WriteFile(d.journal.Path, left, 0o600))
	d.start()
}

// afterlife tells a test on a daemon whose time passes only when everybody
// sleeps.
func afterlife(t *testing.T, tell func(t *testing.T, d *daemon)) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		d := newDaemon(t, func() time.Duration { return time.Since(start) })
		defer func() { d.Stop() }()
		tell(t, d)
	})
}

func frozen() time.Duration { return time.Hour }

func TestLeasesOutliveTheirProcess(t *testing.T) {
	afterlife(t, func(t *testing.T, d *daemon) {
		k := opened(t, d.Table)
		ask := leases.Ask{Key: k, Holder: "trainer-3", Session: "s", Request: "r", Duration: time.Minute}
		kept := granted(t, d.Table, ask)
		renewed := granted(t, d.Table, leases.Ask{Key: k, Session: "s"})
		_, err := d.Renew(renewed.ID, payload.MaxLease)
		require.NoError(t, err)
		released := granted(t, d.Table, leases.Ask{Key: k})
		require.NoError(t, d.Release(released.ID))
		short := granted(t, d.Table, leases.Ask{Key: k, Duration: time.Second})
		granted(t, d.Table, leases.Ask{Key: k, Session: "dead"})
		require.Equal(t, 1, d.EndSession("dead"))
		time.Sleep(20 * time.Second)

		d.kill()

		require.Equal(t, leases.Summary{Count: 2, Oldest: 20 * time.Second}, d.Summary())
		require.Equal(t, leases.Drain{Leases: 2, Within: payload.MaxLease - 20*time.Second}, d.Held(k))
		seen, err := d.Lookup(kept.ID)
		require.NoError(t, err)
		require.Equal(t, leases.Grant{ID: kept.ID, Key: k, Holder: "trainer-3", Session: "s", Remaining: 40 * time.Second}, seen)
		for _, over := range []leases.Grant{released, short} {
			_, err = d.Lookup(over.ID)
			require.ErrorIs(t, err, payload.Expired)
		}

		require.Equal(t, kept.ID, granted(t, d.Table, ask).ID, "a repeat returns the same lease")
		fresh := granted(t, d.Table, leases.Ask{Key: k})
		require.NotContains(t, []string{kept.ID, renewed.ID, released.ID, short.ID}, fresh.ID)
		_, err = d.Renew(kept.ID, payload.MaxLease)
		require.NoError(t, err)
		require.Equal(t, 2, d.EndSession("s"))
	})
}

func TestAClosedPlacementStaysClosed(t *testing.T) {
	afterlife(t, func(t *testing.T, d *daemon) {
		held, idle, freed := opened(t, d.Table), opened(t, d.Table), opened(t, d.Table)
		g := granted(t, d.Table, leases.Ask{Key: held})
		for _, k := range []leases.Key{held, idle, freed} {
			d.Close(k)
		}
		d.Forget(freed)

		d.kill()

		require.ElementsMatch(t, []leases.Key{held, idle}, d.Keys())
		for _, k := range d.Keys() {
			d.Open(k)
			_, err := d.Grant(leases.Ask{Key: k})
			require.ErrorIs(t, err, payload.Conflict)
		}
		_, err := d.Renew(g.ID, 0)
		require.ErrorIs(t, err, payload.Conflict)
		_, err = d.Lookup(g.ID)
		require.NoError(t, err)
		_, err = d.Grant(leases.Ask{Key: freed})
		require.ErrorIs(t, err, payload.NotFound)
	})
}

func TestWhatDrainedMeanwhileIsReported(t *testing.T) {
	afterlife(t, func(t *testing.T, d *daemon) {
		meanwhile, later := opened(t, d.Table), opened(t, d.Table)
		granted(t, d.Table, leases.Ask{Key: meanwhile, Duration: time.Second})
		granted(t, d.Table, leases.Ask{Key: later, Duration: time.Minute})
		d.Close(meanwhile)
		d.Close(later)
		left, err := os.ReadFile(d.journal.Path)
		require.NoError(t, err)
		d.Stop()
		time.Sleep(30 * time.Second)

		require.NoError(t, os.WriteFile(d.journal.Path, left, 0o600))
		d.start()
		synctest.Wait()
		drained := make(chan leases.Key, 3)
		d.OnDrained(func(k leases.Key) { drained <- k })
		require.Equal(t, meanwhile, <-drained, "also to a listener who comes late")
		synctest.Wait()
		require.Empty(t, drained)
		require.Equal(t, later, <-drained)
	})
}

func TestALeaseWithoutAPlacementStaysWithout(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		afterlife(t, func(t *testing.T, d *daemon) {
			k := opened(t, d.Table)
			lost := granted(t, d.Table, leases.Ask{Key: k})
			d.Forget(k)
			d.Open(k)
			kept := granted(t, d.Table, leases.Ask{Key: k})
			if compacted {
				require.NoError(t, d.Compact())
			}
			d.kill()

			_, err := d.Renew(lost.ID, 0)
			require.ErrorIs(t, err, payload.Conflict)
			require.Equal(t, 1, d.Held(k).Leases)
			_, err = d.Renew(kept.ID, payload.MaxLease)
			require.NoError(t, err)
		})
	}
}

func TestAnotherBootEndsAllLeases(t *testing.T) {
	afterlife(t, func(t *testing.T, d *daemon) {
		k := opened(t, d.Table)
		g := granted(t, d.Table, leases.Ask{Key: k})
		d.Stop()
		d.journal.BootID = strings.Replace(boot, "6", "7", 1)
		d.start()

		require.Equal(t, leases.Summary{}, d.Summary())
		require.Empty(t, d.Keys())
		d.Open(k)
		require.NotEqual(t, g.ID, granted(t, d.Table, leases.Ask{Key: k}).ID)
		_, err := d.Lookup(g.ID)
		require.ErrorIs(t, err, payload.NotFound, "an old id never means a new lease")
	})
}

func TestWhatIsNoJournalIsRefused(t *testing.T) {
	d := newDaemon(t, frozen)
	d.Stop()
	whole, err := os.ReadFile(d.journal.Path)
	require.NoError(t, err)
	for name, bad := range map[string]struct {
		content func(b []byte) []byte
		code    payload.Code
	}{
		"a later format": {func(b []byte) []byte { b[8] = 2; return b }, payload.Unsupported},
		"something else": {func(b []byte) []byte { return []byte("SQLite format 3\x00") }, payload.Corrupt},
		"empty":          {func(b []byte) []byte { return nil }, payload.Corrupt},
		"a short header": {func(b []byte) []byte { return b[:leases.HeaderSize-1] }, payload.Corrupt},
		"a bad boot id":  {func(b []byte) []byte { b[40]++; return b }, payload.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(d.journal.Path, bad.content(bytes.Clone(whole)), 0o600))
			_, err := leases.Open(d.journal, frozen)
			require.ErrorIs(t, err, bad.code)
			require.NotContains(t, err.Error(), d.journal.Path)
		})
	}
	for _, id := range []string{"", strings.Repeat("x", 97)} {
		_, err := leases.Open(leases.Journal{Path: d.journal.Path, BootID: id}, frozen)
		require.ErrorIs(t, err, payload.Invalid)
	}
	_, err = leases.Open(leases.Journal{Path: filepath.Join(t.TempDir(), "no", "folder"), BootID: boot}, frozen)
	require.ErrorIs(t, err, payload.Unavailable)
	require.NotContains(t, err.Error(), "folder")
}

// history grants three leases, and renews, releases and closes, one record
// each. It returns what holds after each record: remaining time by lease.
func history(t *testing.T, d *daemon) (ids []string, after []map[string]time.Duration) {
	k := opened(t, d.Table)
	note := func() {
		held := map[string]time.Duration{}
		for _, id := range ids {
			if g, err := d.Lookup(id); err == nil {
				held[id] = g.Remaining
			}
		}
		after = append(after, held)
	}
	note()
	for range 3 {
		ids = append(ids, granted(t, d.Table, leases.Ask{Key: k, Holder: "h", Session: "s"}).ID)
		note()
	}
	_, err := d.Renew(ids[0], time.Minute)
	require.NoError(t, err)
	note()
	require.NoError(t, d.Release(ids[1]))
	note()
	d.Close(k)
	note()
	return ids, after
}

// replayed is what a daemon would find held in a file of the given content.
func replayed(t require.TestingT, dir string, content []byte, ids []string) map[string]time.Duration {
	path := filepath.Join(dir, "copy.journal")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	table, err := leases.Open(leases.Journal{Path: path, BootID: boot}, frozen)
	require.NoError(t, err)
	defer table.Stop()
	held := map[string]time.Duration{}
	for _, id := range ids {
		if g, err := table.Lookup(id); err == nil {
			held[id] = g.Remaining
		}
	}
	require.Equal(t, table.Summary().Count, len(held))
	return held
}

func TestATornOrDamagedTailCostsNothingBeforeIt(t *testing.T) {
	d := newDaemon(t, frozen)
	ids, after := history(t, d)
	d.Stop()
	file, err := os.ReadFile(d.journal.Path)
	require.NoError(t, err)
	lengths := leases.Whole(file)
	require.Len(t, lengths, len(after)-1)

	dir, at := memoryDir(t), leases.HeaderSize
	for i, length := range lengths {
		for n := range length {
			torn := file[:at+n]
			require.Equal(t, after[i], replayed(t, dir, torn, ids), "cut after %d bytes of record %d", n, i)
			allocated := append(bytes.Clone(torn), make([]byte, 1000)...)
			if !bytes.HasPrefix(allocated, file[:at+length]) { // what was not written yet is zero anyway
				require.Equal(t, after[i], replayed(t, dir, allocated, ids), "the rest of record %d from byte %d not written", i, n)
			}
			flipped := bytes.Clone(file)
			flipped[at+n] ^= 1 << (n % 8)
			require.Equal(t, after[i], replayed(t, dir, flipped, ids), "byte %d of record %d flipped", n, i)
		}
		at += length
	}
	require.Equal(t, after[len(lengths)], replayed(t, dir, file, ids))
}

func TestWhatFollowsATornRecordNeverComesBack(t *testing.T) {
	d := newDaemon(t, frozen)
	k := opened(t, d.Table)
	torn := granted(t, d.Table, leases.Ask{Key: k, Session: "a"})
	behind := granted(t, d.Table, leases.Ask{Key: k, Session: "b"})
	d.Stop()
	file, err := os.ReadFile(d.journal.Path)
	require.NoError(t, err)
	file[leases.HeaderSize] ^= 1
	require.NoError(t, os.WriteFile(d.journal.Path, file, 0o600))

	d.start()
	d.Open(k)
	again := granted(t, d.Table, leases.Ask{Key: k, Session: "c"}) // as long as the record that was torn
	d.kill()
	defer d.Stop()
	require.Equal(t, 1, d.Summary().Count)
	require.Equal(t, torn.ID, again.ID, "its grant is not known any more")
	_, err = d.Lookup(behind.ID)
	require.Error(t, err)
}

// A disk has room for so many more bytes.
type disk struct{ left int64 }

func (d *disk) allocate(f *os.File, offset, size int64) error {
	if size > d.left {
		return unix.ENOSPC
	}
	d.left -= size
	return unix.Fallocate(int(f.Fd()), 0, offset, size)
}

func TestAFullDiskRefusesNewLeasesAndNothingElse(t *testing.T) {
	room := &disk{left: 1 << 20}
	d := &daemon{t: t, now: frozen, journal: leases.Journal{
		Path: filepath.Join(t.TempDir(), "leases.journal"), BootID: boot, Allocate: room.allocate,
	}}
	d.start()
	defer func() { d.Stop() }()
	fill(t, d, func() { d.Stop(); room.left = 4 << 20; d.start() })
}

// fill carries a journal through a full disk.
func fill(t *testing.T, d *daemon, enlarge func()) {
	k, other := opened(t, d.Table), opened(t, d.Table)
	first := granted(t, d.Table, leases.Ask{Key: k, Session: "s", Request: "r"})
	count := 1
	var full error
	for full == nil {
		require.Less(t, count, 100_000, "it never got full")
		_, full = d.Grant(leases.Ask{Key: k, Session: "s", Holder: "somebody"})
		count++
	}
	count--
	require.ErrorIs(t, full, payload.Unavailable)
	require.NotContains(t, full.Error(), d.journal.Path)
	known, _ := errors.AsType[*payload.Error](full)
	require.Positive(t, known.RetryAfter)
	var renewal error
	for longer := payload.DefaultLease; renewal == nil; longer += time.Second { // some may fit where no grant does
		_, renewal = d.Renew(first.ID, longer)
	}
	require.ErrorIs(t, renewal, payload.Unavailable)
	require.Equal(t, count, d.Summary().Count, "what was refused was not half granted")
	require.Equal(t, first.ID, granted(t, d.Table, leases.Ask{Key: k, Session: "s", Request: "r"}).ID, "an answer that was given needs no room")

	require.NoError(t, d.Release(first.ID))
	require.Equal(t, count-1, d.Close(k).Leases)
	enlarge()
	d.Open(other)
	require.GreaterOrEqual(t, d.Held(k).Leases, count-1, "an end may be forgotten, a lease never")
	granted(t, d.Table, leases.Ask{Key: other, Session: "s", Request: "another"})
}

func TestAFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skip("mounting needs root:", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	var uptime atomic.Int64
	now := func() time.Duration { return time.Duration(uptime.Load()) }
	d := &daemon{t: t, now: now, journal: leases.Journal{Path: filepath.Join(dir, "leases.journal"), BootID: boot}}
	d.start()
	defer func() { d.Stop() }()
	fill(t, d, func() {
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=4m"))
		uptime.Add(int64(time.Second)) // as long as the error said
	})
}

func TestAJournalStartsOnAFullDisk(t *testing.T) {
	d := newDaemon(t, frozen)
	k := opened(t, d.Table)
	g := granted(t, d.Table, leases.Ask{Key: k})
	d.Stop()
	d.journal.Allocate = (&disk{}).allocate
	d.start()
	defer d.Stop()
	_, err := d.Lookup(g.ID)
	require.NoError(t, err)
	_, err = d.Grant(leases.Ask{Key: k})
	require.ErrorIs(t, err, payload.Unavailable)
	require.NoError(t, d.Release(g.ID))
}

func TestAStoppedJournalGrantsNothing(t *testing.T) {
	d := newDaemon(t, frozen)
	k := opened(t, d.Table)
	g := granted(t, d.Table, leases.Ask{Key: k})
	d.Stop()
	d.Stop()
	_, err := d.Grant(leases.Ask{Key: k})
	require.ErrorIs(t, err, payload.Unavailable)
	_, err = d.Renew(g.ID, payload.MaxLease)
	require.ErrorIs(t, err, payload.Unavailable)
	require.NoError(t, d.Release(g.ID))
	d.start()
	defer d.Stop()
	_, err = d.Lookup(g.ID)
	require.NoError(t, err, "a restart may lengthen a lease")
}
