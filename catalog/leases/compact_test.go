package leases_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A crowd notes what a table promised it: until when each lease holds, from
// when its Grant or Renew returned to when its Release begins.
type crowd struct {
	*daemon
	key leases.Key

	mu   sync.Mutex
	held map[string]time.Duration
}

func newCrowd(t *testing.T, step func(*crowd, string)) *crowd {
	c := &crowd{daemon: newDaemon(t, frozen), held: map[string]time.Duration{}}
	c.Stop()
	c.journal.Step = func(name string) { step(c, name) }
	c.start()
	c.key = opened(t, c.Table)
	return c
}

func (c *crowd) promised() map[string]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.held)
}

func (c *crowd) note(g leases.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[g.ID] = g.Remaining // of a clock that stands still
}

func (c *crowd) forsake(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, id)
}

// reader grants, renews and releases until told to stop, or until the journal
// is as long as the checks can bear.
func (c *crowd) reader(seed uint64, stop *atomic.Bool) error {
	chance := rand.New(rand.NewPCG(seed, 0))
	var mine []string
	for n := 0; n < 10_000 && !stop.Load(); n++ {
		g, err := c.Grant(leases.Ask{Key: c.key, Session: fmt.Sprint(seed), Duration: time.Minute})
		if err != nil {
			return err
		}
		c.note(g)
		mine = append(mine, g.ID)
		i := chance.IntN(len(mine))
		if chance.IntN(4) == 0 {
			if g, err = c.Renew(mine[i], time.Minute+time.Duration(chance.IntN(60))*time.Second); err != nil {
				return err
			}
			c.note(g)
		}
		if len(mine) > 250 {
			c.forsake(mine[i])
			if err := c.Release(mine[i]); err != nil {
				return err
			}
			mine = slices.Delete(mine, i, i+1)
		}
	}
	return nil
}

// check copies the journal as a crash would leave it, and holds what is in it
// against what was promised before and is still.
func (c *crowd) check(dir string) error {
	promised := c.promised()
	for _, name := range []string{"", ".new"} { // a daemon finds both
		content, err := os.ReadFile(c.journal.Path + name)
		if name != "" && errors.Is(err, os.ErrNotExist) {
			content, err = []byte("half a header"), nil
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "left"+name), content, 0o600)
		}
		if err != nil {
			return err
		}
	}
	still := c.promised()
	after, err := leases.Open(leases.Journal{Path: filepath.Join(dir, "left"), BootID: boot}, frozen)
	if err != nil {
		return err
	}
	defer after.Stop()
	for id, until := range promised {
		if _, held := still[id]; !held {
			continue
		}
		if g, err := after.Lookup(id); err != nil || g.Remaining < until {
			return fmt.Errorf("%s was promised for %v and holds for %v: %w", id, until, g.Remaining, err)
		}
	}
	return nil
}

func TestAKillAtAnyMomentUnderLoadLosesNothing(t *testing.T) {
	const readers, kills, compactions = 4, 20, 5
	var failed atomic.Pointer[error]
	var switched atomic.Int32
	dir := memoryDir(t) // of the compactor's copies
	c := newCrowd(t, func(c *crowd, name string) {
		if err := c.check(dir); err != nil {
			err = fmt.Errorf("at %s: %w", name, err)
			failed.CompareAndSwap(nil, &err)
		}
		if name == leases.StepSwitched {
			switched.Add(1)
		}
	})
	defer func() { c.Stop() }()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var all sync.WaitGroup
	var stop atomic.Bool
	for i := range uint64(readers) {
		all.Go(func() {
			if err := c.reader(seed+i, &stop); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	all.Go(func() {
		for range compactions {
			if err := c.Compact(); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		}
	})
	other := memoryDir(t)
	for n := 0; failed.Load() == nil && (n < kills || switched.Load() < compactions); n++ {
		if err := c.check(other); err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	stop.Store(true)
	all.Wait()
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}
	require.Equal(t, len(c.promised()), c.Summary().Count)
	c.kill()
	require.Equal(t, len(c.promised()), c.Summary().Count, "and when all is quiet, it is exact")
}

func TestTooMuchGarbageIsCompacted(t *testing.T) {
	d := newDaemon(t, frozen)
	defer func() { d.Stop() }()
	d.Stop()
	compacted := make(chan struct{}, 1)
	d.journal.Step = func(name string) {
		if name == leases.StepSwitched {
			compacted <- struct{}{}
		}
	}
	d.start()
	k := opened(t, d.Table)
	kept := granted(t, d.Table, leases.Ask{Key: k})
	for done := false; !done; {
		require.NoError(t, d.Release(granted(t, d.Table, leases.Ask{Key: k, Holder: strings.Repeat("x", 1000)}).ID))
		select {
		case <-compacted:
			done = true
		default:
		}
	}
	d.kill()
	_, err := d.Lookup(kept.ID)
	require.NoError(t, err)
	require.Equal(t, 1, d.Summary().Count)
}

func TestCompactionKeepsWhatHoldsAndNothingElse(t *testing.T) {
	d := newDaemon(t, frozen)
	defer func() { d.Stop() }()
	k, closed := opened(t, d.Table), opened(t, d.Table)
	var ids []string
	for range 10 {
		ids = append(ids, granted(t, d.Table, leases.Ask{Key: k, Session: "s"}).ID)
	}
	for range 5000 { // more than one stride of records
		require.NoError(t, d.Release(granted(t, d.Table, leases.Ask{Key: k, Holder: strings.Repeat("x", 200)}).ID))
	}
	_, err := d.Renew(ids[0], payload.MaxLease)
	require.NoError(t, err)
	require.NoError(t, d.Release(ids[1]))
	d.Close(closed)

	require.NoError(t, d.Compact())
	d.Stop()
	info, err := os.Stat(d.journal.Path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2000))
	d.start()
	require.Equal(t, 9, d.Summary().Count)
	renewed, err := d.Lookup(ids[0])
	require.NoError(t, err)
	require.Equal(t, payload.MaxLease, renewed.Remaining)
	require.ElementsMatch(t, []leases.Key{k, closed}, d.Keys())
	require.NotContains(t, ids, granted(t, d.Table, leases.Ask{Key: k}).ID, "ids go on")
}

func TestACompactionThatFailsChangesNothing(t *testing.T) {
	d := newDaemon(t, frozen)
	defer func() { d.Stop() }()
	d.Stop()
	d.journal.Allocate = func(f *os.File, offset, size int64) error {
		if strings.HasSuffix(f.Name(), ".new") {
			return unix.ENOSPC
		}
		return unix.Fallocate(int(f.Fd()), 0, offset, size)
	}
	d.start()
	k := opened(t, d.Table)
	g := granted(t, d.Table, leases.Ask{Key: k})
	require.ErrorIs(t, d.Compact(), unix.ENOSPC)
	require.NoFileExists(t, d.journal.Path+".new")
	granted(t, d.Table, leases.Ask{Key: k})
	d.kill()
	require.Equal(t, 2, d.Summary().Count)
	_, err := d.Lookup(g.ID)
	require.NoError(t, err)
}

func TestANewFileThatGetsNoNameIsGivenUp(t *testing.T) {
	d := newDaemon(t, frozen)
	defer func() { d.Stop() }()
	d.Stop()
	aside := d.journal.Path + ".aside"
	d.journal.Step = func(name string) {
		if name == leases.StepBoth { // put something in the way of the rename
			require.NoError(t, os.Rename(d.journal.Path, aside))
			require.NoError(t, os.Mkdir(d.journal.Path, 0o700))
		}
	}
	d.start()
	k := opened(t, d.Table)
	granted(t, d.Table, leases.Ask{Key: k})
	err := d.Compact()
	require.Error(t, err)
	require.NotContains(t, err.Error(), d.journal.Path)
	require.NoError(t, os.Remove(d.journal.Path))
	require.NoError(t, os.Rename(aside, d.journal.Path))
	granted(t, d.Table, leases.Ask{Key: k})
	d.kill()
	require.Equal(t, 2, d.Summary().Count, "the old file was written all the time")
}
