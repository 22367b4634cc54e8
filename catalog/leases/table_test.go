package leases_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(journalOfChild); path != "" {
		fmt.Fprintln(os.Stderr, leaseUntilKilled(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// story tells a test on a table whose time passes only when everybody sleeps:
// once on one that ends with its process, and once on one with a journal.
func story(t *testing.T, tell func(t *testing.T, table *leases.Table)) {
	t.Run("memory", func(t *testing.T) { inMemory(t, tell) })
	t.Run("journal", func(t *testing.T) {
		afterlife(t, func(t *testing.T, d *daemon) { tell(t, d.Table) })
	})
}

func inMemory(t *testing.T, tell func(t *testing.T, table *leases.Table)) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		table := leases.New(func() time.Duration { return time.Since(start) })
		defer table.Stop()
		tell(t, table)
	})
}

func newKey(t require.TestingT) leases.Key {
	id, err := payload.NewID()
	require.NoError(t, err)
	return leases.Key{ID: id, Tier: payload.RAM, Attempt: 1}
}

func opened(t require.TestingT, table *leases.Table) leases.Key {
	k := newKey(t)
	table.Open(k)
	return k
}

func granted(t require.TestingT, table *leases.Table, ask leases.Ask) leases.Grant {
	g, err := table.Grant(ask)
	require.NoError(t, err)
	return g
}

func TestALeaseHoldsUntilItIsReleased(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		k := opened(t, table)
		g := granted(t, table, leases.Ask{Key: k, Holder: "trainer-3", Session: "s", Duration: time.Minute})
		require.Equal(t, leases.Grant{ID: g.ID, Key: k, Holder: "trainer-3", Session: "s", Remaining: time.Minute}, g)
		require.Equal(t, leases.Drain{Leases: 1, Within: time.Minute}, table.Held(k))

		time.Sleep(20 * time.Second)
		seen, err := table.Lookup(g.ID)
		require.NoError(t, err)
		require.Equal(t, 40*time.Second, seen.Remaining)
		require.Equal(t, leases.Summary{Count: 1, Oldest: 20 * time.Second}, table.Summary())

		require.NoError(t, table.Release(g.ID))
		require.NoError(t, table.Release(g.ID), "twice is once")
		require.Equal(t, leases.Drain{}, table.Held(k))
		require.Equal(t, leases.Summary{}, table.Summary())
		_, err = table.Lookup(g.ID)
		require.ErrorIs(t, err, payload.Expired)
		_, err = table.Renew(g.ID, 0)
		require.ErrorIs(t, err, payload.Expired)
	})
}

func TestALeaseExpiresAtItsDeadlineAndNotBefore(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		k := opened(t, table)
		g := granted(t, table, leases.Ask{Key: k})
		require.Equal(t, payload.DefaultLease, g.Remaining)

		time.Sleep(payload.DefaultLease - 1)
		last, err := table.Lookup(g.ID)
		require.NoError(t, err)
		require.Equal(t, time.Duration(1), last.Remaining)
		require.Equal(t, leases.Drain{Leases: 1, Within: 1}, table.Held(k))

		time.Sleep(time.Nanosecond)
		_, err = table.Lookup(g.ID)
		require.ErrorIs(t, err, payload.Expired)
		_, err = table.Renew(g.ID, time.Minute)
		require.ErrorIs(t, err, payload.Expired)
		require.Equal(t, leases.Drain{}, table.Held(k))
		require.NoError(t, table.Release(g.ID))
	})
}

func TestDurationsHaveBounds(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		k := opened(t, table)
		longest := granted(t, table, leases.Ask{Key: k, Duration: payload.MaxLease})
		require.Equal(t, payload.MaxLease, longest.Remaining)
		for _, d := range []time.Duration{-1, payload.MaxLease + 1} {
			_, err := table.Grant(leases.Ask{Key: k, Duration: d})
			require.ErrorIs(t, err, payload.Invalid)
			_, err = table.Renew(longest.ID, d)
			require.ErrorIs(t, err, payload.Invalid)
		}
	})
}

func TestRenewalLengthensAndNeverShortens(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		k := opened(t, table)
		g := granted(t, table, leases.Ask{Key: k, Duration: time.Minute})

		kept, err := table.Renew(g.ID, time.Second)
		require.NoError(t, err)
		require.Equal(t, time.Minute, kept.Remaining)

		time.Sleep(59 * time.Second)
		longer, err := table.Renew(g.ID, time.Minute)
		require.NoError(t, err)
		require.Equal(t, time.Minute, longer.Remaining)

		time.Sleep(30 * time.Second) // beyond the first deadline
		_, err = table.Lookup(g.ID)
		require.NoError(t, err)
	})
}

func TestWhatWasNeverGrantedIsNotFound(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		other := leases.New(leases.Boottime)
		defer other.Stop()
		foreign := granted(t, other, leases.Ask{Key: opened(t, other)})
		g := granted(t, table, leases.Ask{Key: opened(t, table)})
		for _, id := range []string{"", "x", foreign.ID, g.ID + "0", g.ID[:len(g.ID)-1] + "0", g.ID[:len(g.ID)-1]} {
			_, err := table.Lookup(id)
			require.ErrorIs(t, err, payload.NotFound, id)
			_, err = table.Renew(id, 0)
			require.ErrorIs(t, err, payload.NotFound, id)
			require.NoError(t, table.Release(id))
		}
		require.Equal(t, 1, table.Summary().Count)
	})
}

func TestOnlyAnOpenPlacementIsLeased(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		k := newKey(t)
		_, err := table.Grant(leases.Ask{Key: k})
		require.ErrorIs(t, err, payload.NotFound)

		table.Close(k) // closed before it was ever opened, as at a start
		table.Open(k)
		_, err = table.Grant(leases.Ask{Key: k})
		require.ErrorIs(t, err, payload.Conflict)
		require.Equal(t, payload.Retires, payload.ReasonOf(err))

		table.Forget(k)
		_, err = table.Grant(leases.Ask{Key: k})
		require.ErrorIs(t, err, payload.NotFound)
	})
}

func TestARepeatReturnsTheSameLeaseWhileItLives(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		k := opened(t, table)
		ask := leases.Ask{Key: k, Holder: "h", Session: "s", Request: "r", Duration: time.Minute}
		first := granted(t, table, ask)
		time.Sleep(time.Second)

		faster := ask
		faster.Key.Tier = payload.GPU // the best placement by now: the repeat still names the old one
		for _, repeat := range []leases.Ask{ask, faster} {
			again := granted(t, table, repeat)
			require.Equal(t, first.ID, again.ID)
			require.Equal(t, k, again.Key)
			require.Equal(t, 59*time.Second, again.Remaining)
		}
		table.Close(k)
		require.Equal(t, first.ID, granted(t, table, ask).ID, "closing changes no answer that was given")
		require.Equal(t, 1, table.Held(k).Leases)
	})
}

func TestARequestIsNotReusedForSomethingElse(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		ask := leases.Ask{Key: opened(t, table), Holder: "h", Session: "s", Request: "r", Duration: time.Minute}
		first := granted(t, table, ask)

		payloads, holder, duration := ask, ask, ask
		payloads.Key, holder.Holder, duration.Duration = opened(t, table), "other", time.Second
		for _, other := range []leases.Ask{payloads, holder, duration} {
			_, err := table.Grant(other)
			require.ErrorIs(t, err, payload.Conflict)
			require.Equal(t, payload.RequestReuse, payload.ReasonOf(err))
		}
		foreign := ask
		foreign.Session = "another"
		require.NotEqual(t, first.ID, granted(t, table, foreign).ID, "sessions number their requests apart")
	})
}

func TestARequestIsFreeAgainWhenItsLeaseIsOver(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		ask := leases.Ask{Key: opened(t, table), Request: "r", Duration: time.Minute}
		released := granted(t, table, ask)
		require.NoError(t, table.Release(released.ID))
		expired := granted(t, table, ask)
		require.NotEqual(t, released.ID, expired.ID)
		time.Sleep(time.Minute)
		require.NotEqual(t, expired.ID, granted(t, table, ask).ID)
	})
}

func TestAClosedPlacementDrains(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		var drained []leases.Key
		table.OnDrained(func(k leases.Key) { drained = append(drained, k) })
		k, free := opened(t, table), opened(t, table)
		long := granted(t, table, leases.Ask{Key: k, Duration: time.Minute})
		short := granted(t, table, leases.Ask{Key: k, Duration: time.Second})

		require.Equal(t, leases.Drain{Leases: 2, Within: time.Minute}, table.Close(k))
		require.Equal(t, leases.Drain{}, table.Close(free))
		_, err := table.Grant(leases.Ask{Key: k})
		require.ErrorIs(t, err, payload.Conflict)
		_, err = table.Renew(long.ID, time.Minute)
		require.ErrorIs(t, err, payload.Conflict)
		_, err = table.Lookup(long.ID)
		require.NoError(t, err, "what is held stays readable")

		time.Sleep(time.Second)
		_, err = table.Renew(short.ID, 0)
		require.ErrorIs(t, err, payload.Expired)
		require.Equal(t, leases.Drain{Leases: 1, Within: 59 * time.Second}, table.Close(k), "twice is once")
		synctest.Wait()
		require.Empty(t, drained)

		require.NoError(t, table.Release(long.ID))
		synctest.Wait()
		require.Equal(t, []leases.Key{k}, drained)
	})
}

func TestADrainByExpiryIsNoticedWithoutACall(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		start := time.Now()
		drained := make(chan time.Duration, 1)
		table.OnDrained(func(leases.Key) { drained <- time.Since(start) })
		slow, quick := opened(t, table), opened(t, table)
		granted(t, table, leases.Ask{Key: slow, Duration: time.Minute})
		granted(t, table, leases.Ask{Key: quick, Duration: time.Second}) // wakes a watcher that would sleep longer
		table.Close(slow)
		table.Close(quick)
		require.Equal(t, time.Second, <-drained)
		require.Equal(t, time.Minute, <-drained)
	})
}

func TestLeasesEndWithTheirSession(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		var drained []leases.Key
		table.OnDrained(func(k leases.Key) { drained = append(drained, k) })
		k, theirs := opened(t, table), opened(t, table)
		const many = 3000 // more than end in one hold of the lock
		for range many {
			granted(t, table, leases.Ask{Key: k, Session: "mine", Duration: time.Minute})
		}
		granted(t, table, leases.Ask{Key: k, Session: "mine", Duration: time.Second})
		kept := granted(t, table, leases.Ask{Key: theirs, Session: "theirs"})
		unbound := granted(t, table, leases.Ask{Key: theirs})
		table.Close(k)
		time.Sleep(time.Second)

		require.Equal(t, many, table.EndSession("mine"))
		require.Zero(t, table.EndSession("mine"))
		require.Zero(t, table.EndSession(""), "leases without a session have none to end with")
		synctest.Wait()
		require.Equal(t, []leases.Key{k}, drained)
		for _, g := range []leases.Grant{kept, unbound} {
			_, err := table.Lookup(g.ID)
			require.NoError(t, err)
		}
	})
}

func TestAForgottenPlacementIsReportedNoMore(t *testing.T) {
	story(t, func(t *testing.T, table *leases.Table) {
		table.OnDrained(func(leases.Key) { t.Error("nobody waits for it") })
		k := opened(t, table)
		lost := granted(t, table, leases.Ask{Key: k})
		table.Forget(k)
		table.Forget(k)
		table.Open(k)
		_, err := table.Renew(lost.ID, 0)
		require.ErrorIs(t, err, payload.Conflict)
		require.Equal(t, leases.Drain{}, table.Held(k))
		require.NoError(t, table.Release(lost.ID))
		synctest.Wait()
	})
}

func TestAStoppedTableStillAnswers(t *testing.T) {
	inMemory(t, func(t *testing.T, table *leases.Table) {
		k := opened(t, table)
		table.Stop()
		table.Stop()
		g := granted(t, table, leases.Ask{Key: k, Duration: time.Second})
		require.Equal(t, 1, table.Held(k).Leases)
		time.Sleep(time.Second)
		require.Zero(t, table.Held(k).Leases)
		require.NoError(t, table.Release(g.ID))
	})
}

func TestManyReadersAtOnce(t *testing.T) {
	table := leases.New(leases.Boottime)
	defer table.Stop()
	var reports sync.Map
	var seen sync.WaitGroup
	table.OnDrained(func(k leases.Key) {
		_, twice := reports.LoadOrStore(k, true)
		if twice {
			t.Error("one drain was reported twice")
		}
		seen.Done()
	})
	keys := make([]leases.Key, 8)
	for i := range keys {
		keys[i] = opened(t, table)
	}
	for _, k := range keys { // held by somebody, so that each close is followed by a drain
		granted(t, table, leases.Ask{Key: k, Session: "owner"})
	}
	var readers sync.WaitGroup
	for i := range 64 {
		readers.Go(func() { read(t, table, keys, i) })
	}
	readers.Wait()
	seen.Add(len(keys))
	for _, k := range keys {
		require.Equal(t, 1, table.Close(k).Leases)
	}
	require.Equal(t, len(keys), table.EndSession("owner"))
	seen.Wait()
	require.Equal(t, leases.Summary{}, table.Summary())
}

// read takes, checks, renews and gives back leases as a crowd would.
func read(t *testing.T, table *leases.Table, keys []leases.Key, reader int) {
	session := string(rune('a' + reader%26))
	for i := range 200 {
		k := keys[(reader+i)%len(keys)]
		g, err := table.Grant(leases.Ask{Key: k, Session: session, Duration: payload.MaxLease})
		if err != nil || table.Held(k).Leases < 1 {
			t.Error("a leased placement looked free", err)
			return
		}
		_, err = table.Renew(g.ID, 0)
		if err != nil && payload.CodeOf(err) != payload.Expired { // its session may have been ended by a neighbour
			t.Error(err)
		}
		if i%50 == 49 {
			table.EndSession(session)
		}
		if err := table.Release(g.ID); err != nil {
			t.Error(err)
		}
	}
}
