package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestDecide(t *testing.T) {
	now := time.Unix(1000, 0)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	one := func(o contract.Outlook) contract.Outlook { o.Open = 1; return o }
	due := one(contract.Outlook{Ever: true, State: payload.StateDeleting, Hosts: []string{"a", "b"}})
	long := in(-time.Hour)
	for _, c := range []struct {
		name string
		s    sight
		want next
	}{
		{"nothing is left", sight{}, next{do: finish}},
		{"a group carries it", sight{ahead: one(contract.Outlook{Group: "g", Ever: true, Hosts: []string{"a"}})}, next{do: finish}},
		{"nothing is ever due", sight{ahead: one(contract.Outlook{})}, next{do: sleep, why: "until somebody asks for something"}},
		{
			"it expires later",
			sight{ahead: one(contract.Outlook{Ever: true, Next: in(time.Hour), State: payload.StateActive})},
			next{do: sleep, until: in(time.Hour), why: "until it expires"},
		},
		{
			"it must be committed first",
			sight{ahead: one(contract.Outlook{Ever: true, Next: in(time.Hour), State: payload.StateAllocated})},
			next{do: sleep, until: in(time.Hour), why: "until it must be committed"},
		},
		{
			"it is due this very moment",
			sight{ahead: one(contract.Outlook{Ever: true, Next: now, Hosts: []string{"a"}})},
			next{do: reap, hosts: []string{"a"}},
		},
		{"it is due on two hosts", sight{ahead: due}, next{do: reap, hosts: []string{"a", "b"}}},
		{"one host did its part", sight{ahead: due, tried: []string{"a"}}, next{do: reap, hosts: []string{"b"}}},
		{
			"the host's clock says: not yet",
			sight{ahead: due, tried: []string{"a", "b"}},
			next{do: sleep, until: in(time.Second), why: "look again", vain: true},
		},
		{
			"and says so for the fourth time",
			sight{ahead: due, tried: []string{"a", "b"}, idle: 3},
			next{do: sleep, until: in(8 * time.Second), why: "look again", vain: true},
		},
		{
			"a reader holds it",
			sight{ahead: due, tried: []string{"a", "b"}, waiting: 1, leases: 2, until: in(30 * time.Second)},
			next{do: sleep, until: in(30 * time.Second), why: "wait for 2 leases", vain: true},
		},
		{
			"a reader holds it for longer than can be",
			sight{ahead: due, tried: []string{"a", "b"}, waiting: 1, leases: 1, until: in(time.Hour)},
			next{do: sleep, until: in(longest), why: "wait for 1 lease", vain: true},
		},
		{
			"a lease that should be over is not",
			sight{ahead: due, tried: []string{"a", "b"}, waiting: 1, leases: 1, until: in(-time.Minute)},
			next{do: sleep, until: in(tick), why: "wait for 1 lease", vain: true},
		},
		{
			"a reader holds one copy, and the payload expires sooner",
			sight{
				ahead: one(contract.Outlook{Ever: true, State: payload.StateActive, ExpiresAt: in(time.Minute), Hosts: []string{"a"}}),
				tried: []string{"a"}, waiting: 1, leases: 1, until: in(5 * time.Minute),
			},
			next{do: sleep, until: in(time.Minute), why: "wait for 1 lease", vain: true},
		},
		{
			"a host does not answer",
			sight{ahead: due, tried: []string{"a", "b"}, trouble: "b does not free", idle: 100},
			next{do: sleep, until: in(256 * time.Second), why: "try again: b does not free", vain: true},
		},
		{
			"the catalog does not answer",
			sight{blind: "no catalog"},
			next{do: sleep, until: in(time.Second), why: "try again: no catalog", vain: true},
		},
		{"a group that was just told of payloads has none", sight{group: true, woken: now}, next{do: sleep, until: in(linger), why: "for payloads that may join"}},
		{"a group got none for a minute", sight{group: true, woken: in(-linger)}, next{do: finish}},
		{
			"a group that was just told looks once more",
			sight{group: true, woken: now, ahead: one(contract.Outlook{Ever: true, Next: in(time.Hour)})},
			next{do: sleep, until: in(linger), why: "for payloads that may join"},
		},
		{
			"a group's next is due in a moment",
			sight{group: true, woken: long, ahead: one(contract.Outlook{Ever: true, Next: in(time.Millisecond)})},
			next{do: sleep, until: in(tick), why: "until the next is due"},
		},
		{
			"a group has to do with payloads without end",
			sight{group: true, woken: long, ahead: one(contract.Outlook{})},
			next{do: sleep, why: "until somebody asks for something"},
		},
		{
			"a reader holds a member, and others may fall due",
			sight{group: true, woken: long, ahead: due, tried: []string{"a", "b"}, waiting: 1, leases: 1, until: in(5 * time.Minute), idle: 100},
			next{do: sleep, until: in(32 * time.Second), why: "wait for 1 lease", vain: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, decide(c.s, now)) })
	}
}

func TestATimerIsNeverShort(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, d := range []time.Duration{0, 1, time.Millisecond, 1500 * time.Microsecond, time.Hour + 1} {
		got := until(now, now.Add(d))
		require.Greater(t, got, d)
		require.Zero(t, got%time.Millisecond)
	}
}

func TestShownChangesOnly(t *testing.T) {
	var s shown
	first := shown{state: "active", tier: "ram", expires: time.Unix(1000, 0)}
	require.Len(t, s.update(first), 3)
	require.Empty(t, s.update(first))
	first.expires = first.expires.Add(time.Microsecond)
	require.Empty(t, s.update(first), "the server rounds times")
	require.Len(t, s.update(shown{state: "deleted"}), 2, "the last tier stays on show")
	require.Equal(t, "ram", s.tier)
}
