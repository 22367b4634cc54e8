package catalogtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// crowd is how many callers come at once.
const crowd = 64

var crowds = []example{
	{"of many who commit one payload, one wins", alone(manyCommit)},
	{"of many who decide on one version, one wins", alone(manyVersions)},
	{"of many who create one payload, one wins", alone(manyCreate)},
	{"many with one request get one answer", alone(manyRepeat)},
	{"many with payloads of their own never meet", alone(manyLives)},
	{"a relay among many writers loses no entry", alone(relayed)},
}

// alone tells a story of two stores with one.
func alone(tell func(t *testing.T, a, b catalog.Store)) func(t *testing.T, s catalog.Store) {
	return func(t *testing.T, s catalog.Store) { tell(t, s, s) }
}

// RunShared tells the stories of crowds with two stores on one database, as
// two daemons have them. open returns both, and closes them when its test ends.
func RunShared(t *testing.T, open func(t *testing.T) (a, b catalog.Store)) {
	for name, tell := range map[string]func(t *testing.T, a, b catalog.Store){
		"commit": manyCommit, "version": manyVersions, "create": manyCreate,
		"request": manyRepeat, "lives": manyLives, "relay": relayed,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			tell(t, a, b)
		})
	}
}

// An outcome is what one of a crowd got.
type outcome struct {
	got payload.Payload
	err error
}

// together lets everyone act at once, half of them on each store.
func together(a, b catalog.Store, act func(n int, s catalog.Store) (payload.Payload, error)) []outcome {
	outcomes := make([]outcome, crowd)
	var everyone sync.WaitGroup
	start := make(chan struct{})
	for n := range outcomes {
		everyone.Go(func() {
			<-start
			outcomes[n].got, outcomes[n].err = act(n, []catalog.Store{a, b}[n%2])
		})
	}
	close(start)
	everyone.Wait()
	return outcomes
}

// oneWins asserts that one outcome is a success and the others have the code.
func oneWins(t *testing.T, outcomes []outcome, code payload.Code) (winner payload.Payload) {
	won := 0
	for _, o := range outcomes {
		if o.err == nil {
			won++
			winner = o.got
			continue
		}
		require.ErrorIs(t, o.err, code)
	}
	require.Equal(t, 1, won)
	return winner
}

func manyCommit(t *testing.T, a, b catalog.Store) {
	do(t, a, allocated(1))
	winner := oneWins(t, together(a, b, func(n int, s catalog.Store) (payload.Payload, error) {
		step := committed(1)
		step.Then.Checksum = payload.CRC32C(uint32(n))
		return s.Do(context.Background(), step)
	}), payload.Conflict)
	same(t, winner, get(t, a, 1))
	same(t, winner, get(t, b, 1))
}

func manyVersions(t *testing.T, a, b catalog.Store) {
	do(t, a, allocated(1))
	seen := do(t, a, committed(1)).Version
	oneWins(t, together(a, b, func(n int, s catalog.Store) (payload.Payload, error) {
		step := then(1, catalog.Then{Put: &payload.Placement{Tier: payload.Disk, Host: fmt.Sprint(n), State: payload.Ready, Attempt: 1}})
		step.If.Version = seen
		return s.Do(context.Background(), step)
	}), payload.Conflict)
	require.Equal(t, seen+1, get(t, b, 1).Version)
	require.Len(t, get(t, b, 1).Placements, 2)
}

func manyCreate(t *testing.T, a, b catalog.Store) {
	winner := oneWins(t, together(a, b, func(n int, s catalog.Store) (payload.Payload, error) {
		step := allocated(1)
		step.Then.Create.Size = int64(n)
		return s.Do(context.Background(), step)
	}), payload.AlreadyExists)
	same(t, winner, get(t, b, 1))
	require.Len(t, pending(t, b), 1)
}

func manyRepeat(t *testing.T, a, b catalog.Store) {
	outcomes := together(a, b, func(n int, s catalog.Store) (payload.Payload, error) {
		return s.Do(context.Background(), requested(allocated(n+1), "s", "r", "d"))
	})
	for _, o := range outcomes {
		require.NoError(t, o.err)
		same(t, outcomes[0].got, o.got)
	}
	require.Len(t, list(t, a, catalog.Query{}), 1)
}

func manyLives(t *testing.T, a, b catalog.Store) {
	const each = 4
	outcomes := together(a, b, func(n int, s catalog.Store) (last payload.Payload, err error) {
		for i := range each {
			for _, step := range wholeLife(1 + n*each + i) {
				if last, err = s.Do(context.Background(), step); err != nil {
					return last, err
				}
			}
		}
		return last, nil
	})
	for _, o := range outcomes {
		require.NoError(t, o.err)
	}
	require.Len(t, list(t, a, catalog.Query{States: []payload.State{payload.StateDeleted}}), crowd*each)
	require.Empty(t, list(t, b, catalog.Query{OpenOnly: true}))
	require.Len(t, pending(t, b), crowd*each)
}

func wholeLife(n int) []catalog.Step {
	name := fmt.Sprint(n)
	return []catalog.Step{
		requested(allocated(n), "allocate", name, ""),
		requested(committed(n), "commit", name, ""),
		then(n, catalog.Then{State: payload.StateDeleting, Retire: true, Wake: true}),
		then(n, catalog.Then{Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}}),
	}
}

// relayed has a crowd live whole lives while a relay reads the outbox through
// the other store and settles it. What the relay last heard of each payload
// must be its end.
func relayed(t *testing.T, a, b catalog.Store) {
	heard := map[payload.ID]payload.Payload{}
	listen := func() {
		backlog, err := b.Pending(context.Background(), 10)
		require.NoError(t, err)
		for _, e := range backlog.Entries {
			heard[e.Payload.ID] = e.Payload
		}
		require.NoError(t, b.Settle(context.Background(), backlog.Entries, "g"))
	}
	done := make(chan []outcome, 1)
	go func() {
		done <- together(a, a, func(n int, s catalog.Store) (last payload.Payload, err error) {
			for _, step := range wholeLife(n + 1)[:3] {
				if last, err = s.Do(context.Background(), step); err != nil {
					return last, err
				}
			}
			return last, nil
		})
	}()
	var outcomes []outcome
	for outcomes == nil {
		select {
		case outcomes = <-done:
		default:
			listen()
		}
	}
	for len(pending(t, b)) > 0 {
		listen()
	}
	for _, o := range outcomes {
		require.NoError(t, o.err)
		require.Equal(t, payload.StateDeleting, heard[o.got.ID].State)
	}
	require.Len(t, list(t, a, catalog.Query{Group: "g"}), crowd)
}
