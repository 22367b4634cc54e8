package catalogtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// The hosts of the stories.
const (
	here  = "here"
	there = "there"
)

// second is an instant of the stories, counted from their beginning. It has
// nanoseconds, so that a store that rounds is found out.
func second(n int) time.Time { return time.Unix(1_800_000_000+int64(n), 123_456_789).UTC() }

// id is the story's n-th payload id; ids sort as their numbers do.
func id(n int) payload.ID {
	var made payload.ID
	binary.BigEndian.PutUint64(made[:8], uint64(n)<<16|0x7000)
	made[8] = 0x80
	return made
}

// allocated is the step that creates payload n at second n.
func allocated(n int) catalog.Step {
	record := payload.Payload{
		ID:         id(n),
		Namespace:  "pipelines",
		Name:       fmt.Sprintf("frame %d", n),
		Size:       4096,
		Policy:     payload.Policy{Tier: payload.RAM, TTL: time.Hour}.WithDefaults(),
		State:      payload.StateAllocated,
		Version:    1,
		CreatedAt:  second(n),
		CommitBy:   second(n + 900),
		Placements: []payload.Placement{filling(payload.RAM, here)},
	}
	return catalog.Step{
		Op:   "allocate",
		ID:   record.ID,
		If:   catalog.If{Absent: true},
		Then: catalog.Then{Create: &record, Wake: true},
		Now:  second(n),
	}
}

// committed is the step that commits payload n, for an hour.
func committed(n int) catalog.Step {
	expires := second(n + 3600)
	put := ready(payload.RAM, here)
	return catalog.Step{
		Op: "commit",
		ID: id(n),
		If: catalog.If{
			Namespace: "pipelines",
			States:    []payload.State{payload.StateAllocated},
			Placement: &catalog.PlacementIf{Tier: payload.RAM, Host: here, States: []payload.PlacementState{payload.Filling}},
		},
		Then: catalog.Then{
			State:     payload.StateActive,
			Checksum:  payload.CRC32C(0),
			Verified:  true,
			ActiveAt:  second(n + 1),
			ExpiresAt: &expires,
			Put:       &put,
			Wake:      true,
		},
		Now: second(n + 1),
	}
}

// then is a step on payload n without conditions.
func then(n int, what catalog.Then) catalog.Step {
	return catalog.Step{Op: "change", ID: id(n), Then: what, Now: second(n + 2)}
}

// given is a step on payload n that only asks.
func given(n int, condition catalog.If) catalog.Step {
	return catalog.Step{Op: "ask", ID: id(n), If: condition, Now: second(n + 2)}
}

func filling(tier payload.Tier, host string) payload.Placement {
	return payload.Placement{Tier: tier, Host: host, State: payload.Filling, Attempt: 1, Location: "somewhere"}
}

func ready(tier payload.Tier, host string) payload.Placement {
	return payload.Placement{Tier: tier, Host: host, State: payload.Ready, Attempt: 1, Location: "somewhere"}
}

// do carries out steps that must succeed, and returns the last answer.
func do(t require.TestingT, s catalog.Store, steps ...catalog.Step) (last payload.Payload) {
	for _, step := range steps {
		var err error
		last, err = s.Do(context.Background(), step)
		require.NoError(t, err)
	}
	return last
}

// get is the record of payload n.
func get(t require.TestingT, s catalog.Store, n int) payload.Payload {
	p, err := s.Get(context.Background(), id(n))
	require.NoError(t, err)
	return p
}

// numbers lists which of the story's payloads these are.
func numbers(payloads []payload.Payload) []int {
	found := []int{}
	for _, p := range payloads {
		found = append(found, int(binary.BigEndian.Uint64(p.ID[:8])>>16))
	}
	return found
}

// list is what matches, by number. A query without a limit gets the largest.
func list(t require.TestingT, s catalog.Store, q catalog.Query) []int {
	if q.Limit == 0 {
		q.Limit = payload.MaxBatch
	}
	found, err := s.List(context.Background(), q)
	require.NoError(t, err)
	return numbers(found)
}

// pending is the whole outbox.
func pending(t require.TestingT, s catalog.Store) []catalog.Entry {
	backlog, err := s.Pending(context.Background(), payload.MaxBatch)
	require.NoError(t, err)
	require.Equal(t, len(backlog.Entries), backlog.Total)
	return backlog.Entries
}

// same compares two records. That a payload has no placements can be said with
// an empty slice or with none.
func same(t require.TestingT, want, got payload.Payload) {
	require.Equal(t, plain(want), plain(got))
}

func plain(p payload.Payload) payload.Payload {
	if len(p.Placements) == 0 {
		p.Placements = nil
	}
	return p
}

// refused asserts an error's code, reason and subject.
func refused(t *testing.T, err error, code payload.Code, reason payload.Reason) {
	t.Helper()
	require.ErrorIs(t, err, code)
	require.Equal(t, reason, payload.ReasonOf(err))
}
