package catalogtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var outbox = []example{
	{"a step that wakes leaves one entry a payload", entries},
	{"the outbox is read oldest first", oldestFirst},
	{"settling removes what was delivered", settled},
	{"settling spares what was written again", settledTooLate},
	{"settling into a group makes members of what it removed", members},
	{"a member stays in its group", stays},
}

var groups = []example{
	{"an outlook sums up a group", outlook},
	{"an outlook without anything due", nothingDue},
}

func entries(t *testing.T, s catalog.Store) {
	quiet := allocated(1)
	quiet.Then.Wake = false
	do(t, s, quiet)
	require.Empty(t, pending(t, s))
	do(t, s, committed(1))
	first := pending(t, s)
	require.Len(t, first, 1)
	require.Equal(t, second(2), first[0].Since)
	last := do(t, s, then(1, catalog.Then{State: payload.StateDeleting, Retire: true, Wake: true}))
	again := pending(t, s)
	require.Len(t, again, 1, "entries of one payload coalesce")
	require.Equal(t, second(2), again[0].Since, "it stands for the oldest change")
	require.Greater(t, again[0].Seq, first[0].Seq)
	same(t, last, again[0].Payload)
}

func oldestFirst(t *testing.T, s catalog.Store) {
	do(t, s, allocated(3), allocated(1), allocated(2))
	backlog, err := s.Pending(context.Background(), 2)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, subjects(backlog.Entries))
	require.Equal(t, 3, backlog.Total)
}

func subjects(entries []catalog.Entry) []int {
	var payloads []payload.Payload
	for _, e := range entries {
		payloads = append(payloads, e.Payload)
	}
	return numbers(payloads)
}

func settled(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), allocated(2), allocated(3))
	read := pending(t, s)
	require.NoError(t, s.Settle(context.Background(), read[:2], ""))
	require.Equal(t, []int{3}, subjects(pending(t, s)))
	require.NoError(t, s.Settle(context.Background(), read, ""), "settling twice does nothing more")
	require.NoError(t, s.Settle(context.Background(), nil, "g"))
	require.Empty(t, pending(t, s))
	require.Empty(t, get(t, s, 1).Group)
}

func settledTooLate(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), allocated(2))
	read := pending(t, s)
	do(t, s, committed(1))
	require.NoError(t, s.Settle(context.Background(), read, "g"))
	left := pending(t, s)
	require.Equal(t, []int{1}, subjects(left))
	require.Equal(t, payload.StateActive, left[0].Payload.State)
	require.Empty(t, get(t, s, 1).Group, "it was not delivered")
	require.Equal(t, "g", get(t, s, 2).Group)

	require.NoError(t, s.Settle(context.Background(), left, ""))
	do(t, s, then(1, catalog.Then{Wake: true}))
	require.NoError(t, s.Settle(context.Background(), left, ""))
	require.Len(t, pending(t, s), 1, "an entry written anew is another entry")
}

func members(t *testing.T, s catalog.Store) {
	before := do(t, s, allocated(1))
	require.NoError(t, s.Settle(context.Background(), pending(t, s), "g"))
	before.Group = "g"
	same(t, before, get(t, s, 1))
	require.Equal(t, []int{1}, list(t, s, catalog.Query{Group: "g"}))
	require.Equal(t, "g", do(t, s, committed(1)).Group)
}

func stays(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1))
	require.NoError(t, s.Settle(context.Background(), pending(t, s), "first"))
	do(t, s, committed(1))
	require.NoError(t, s.Settle(context.Background(), pending(t, s), "second"))
	require.Equal(t, "first", get(t, s, 1).Group)
	require.Empty(t, pending(t, s))
}

func outlook(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1), allocated(2), committed(2), allocated(3), committed(3), allocated(4))
	require.NoError(t, s.Settle(context.Background(), pending(t, s), "g"))
	do(t, s, allocated(5))
	expect := func(open int, next time.Time) {
		t.Helper()
		got, err := s.Outlook(context.Background(), "g")
		require.NoError(t, err)
		require.Equal(t, catalog.Outlook{Open: open, Bytes: 4096 * int64(open), Next: next, Ever: true}, got)
	}
	expect(4, second(901))
	do(t, s, then(1, catalog.Then{State: payload.StateAborted, Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}}))
	expect(3, second(904))
	do(t, s, committed(4))
	expect(3, second(3602))
	do(t, s, then(2, catalog.Then{State: payload.StateDeleting, Retire: true}))
	expect(3, time.Time{})
}

func nothingDue(t *testing.T, s catalog.Store) {
	got, err := s.Outlook(context.Background(), "g")
	require.NoError(t, err)
	require.Zero(t, got)
	never := time.Time{}
	do(t, s, allocated(1), committed(1), then(1, catalog.Then{ExpiresAt: &never}))
	require.NoError(t, s.Settle(context.Background(), pending(t, s), "g"))
	got, err = s.Outlook(context.Background(), "g")
	require.NoError(t, err)
	require.Equal(t, catalog.Outlook{Open: 1, Bytes: 4096}, got)
}
