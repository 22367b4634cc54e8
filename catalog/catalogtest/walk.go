package catalogtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/memory"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var walks = []example{{"random walks agree with the model", walk}}

// walk takes random walks through the store and the memory store side by side,
// and compares every answer. Each walk begins by emptying the store through
// its own methods.
func walk(t *testing.T, s catalog.Store) {
	rapid.Check(t, func(t *rapid.T) {
		empty(t, s)
		w := walker{store: s, model: memory.New()}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": w.allocate,
			"step":     w.step,
			"list":     w.list,
			"outlook":  w.outlook,
			"settle":   w.settle,
			"prune":    w.prune,
			"":         w.check,
		})
		w.compareAll(t)
	})
}

// empty ends every payload and forgets it. That it can is a promise of its own:
// nothing stays for ever.
func empty(t *rapid.T, s catalog.Store) {
	left, err := s.List(context.Background(), catalog.Query{Limit: payload.MaxBatch})
	require.NoError(t, err)
	for _, p := range left {
		for _, at := range p.Placements {
			do(t, s, catalog.Step{ID: p.ID, Now: second(1), Then: catalog.Then{Drop: &catalog.PlacementIf{Tier: at.Tier, Host: at.Host}}})
		}
		do(t, s, catalog.Step{ID: p.ID, Now: second(1), Then: catalog.Then{State: payload.StateDeleted}})
	}
	require.NoError(t, s.Settle(context.Background(), pending(t, s), ""))
	_, err = s.Prune(context.Background(), second(1e9), payload.MaxBatch)
	require.NoError(t, err)
	require.Empty(t, list(t, s, catalog.Query{}))
}

type walker struct {
	store, model catalog.Store
	taken        int
}

// check compares whole stores every few steps: each step would be slow.
func (w *walker) check(t *rapid.T) {
	if w.taken++; w.taken%8 == 0 {
		w.compareAll(t)
	}
}

func (w *walker) compareAll(t *rapid.T) {
	w.compareLists(t, catalog.Query{Limit: payload.MaxBatch})
	want, got := pending(t, w.model), pending(t, w.store)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Since, got[i].Since)
		same(t, want[i].Payload, got[i].Payload)
	}
}

func (w *walker) compareLists(t *rapid.T, q catalog.Query) {
	want, err := w.model.List(context.Background(), q)
	require.NoError(t, err)
	got, err := w.store.List(context.Background(), q)
	require.NoError(t, err)
	require.Equal(t, numbers(want), numbers(got))
	for i := range want {
		same(t, want[i], got[i])
	}
}

// both carries out one step in both stores and compares what they say.
func (w *walker) both(t *rapid.T, step catalog.Step) {
	want, refusal := w.model.Do(context.Background(), step)
	got, err := w.store.Do(context.Background(), step)
	require.Equal(t, payload.CodeOf(refusal), payload.CodeOf(err), "%v, %v", refusal, err)
	require.Equal(t, payload.ReasonOf(refusal), payload.ReasonOf(err))
	same(t, want, got)
}

func (w *walker) allocate(t *rapid.T) {
	step := allocated(number.Draw(t, "payload"))
	step.Then.Create.Namespace = namespace.Draw(t, "namespace")
	step.Then.Wake = rapid.Bool().Draw(t, "wake")
	step.Request = request(t)
	w.both(t, step)
}

func (w *walker) step(t *rapid.T) {
	w.both(t, catalog.Step{
		Op:      "step",
		ID:      id(number.Draw(t, "payload")),
		If:      condition(t),
		Then:    change(t),
		Request: request(t),
		Now:     instant.Draw(t, "now"),
	})
}

func (w *walker) list(t *rapid.T) {
	q := catalog.Query{
		Namespace: sometimes(namespace).Draw(t, "namespace"),
		States:    rapid.SliceOfNDistinct(state, 0, 3, rapid.ID).Draw(t, "states"),
		Tier:      sometimes(tier).Draw(t, "tier"),
		Host:      sometimes(host).Draw(t, "host"),
		Group:     sometimes(group).Draw(t, "group"),
		OpenOnly:  rapid.Bool().Draw(t, "open"),
		After:     id(rapid.IntRange(0, 3).Draw(t, "after")),
		Limit:     rapid.IntRange(1, 8).Draw(t, "limit"),
	}
	if rapid.Bool().Draw(t, "due") {
		by := instant.Draw(t, "by")
		q.DueBy = &by
	}
	w.compareLists(t, q)
}

func (w *walker) outlook(t *rapid.T) {
	name := group.Draw(t, "group")
	want, err := w.model.Outlook(context.Background(), name)
	require.NoError(t, err)
	got, err := w.store.Outlook(context.Background(), name)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// settle delivers some entries to both, after a change that may overtake them.
func (w *walker) settle(t *rapid.T) {
	read := [][]catalog.Entry{pending(t, w.model), pending(t, w.store)}
	if rapid.Bool().Draw(t, "overtaken") {
		w.both(t, catalog.Step{ID: id(number.Draw(t, "payload")), Then: catalog.Then{Wake: true}, Now: instant.Draw(t, "now")})
	}
	first := rapid.IntRange(0, len(read[0])).Draw(t, "first")
	name := sometimes(group).Draw(t, "group")
	require.NoError(t, w.model.Settle(context.Background(), read[0][first:], name))
	require.NoError(t, w.store.Settle(context.Background(), read[1][first:], name))
}

func (w *walker) prune(t *rapid.T) {
	before, limit := instant.Draw(t, "before"), rapid.IntRange(1, 4).Draw(t, "limit")
	want, err := w.model.Prune(context.Background(), before, limit)
	require.NoError(t, err)
	got, err := w.store.Prune(context.Background(), before, limit)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

var (
	number    = rapid.IntRange(1, 6)
	namespace = rapid.SampledFrom([]string{"pipelines", "others"})
	group     = rapid.SampledFrom([]string{"g", "h"})
	host      = rapid.SampledFrom([]string{here, there})
	tier      = rapid.SampledFrom(payload.Tiers())
	state     = rapid.SampledFrom(payload.States())
	stage     = rapid.SampledFrom([]payload.PlacementState{payload.Filling, payload.Ready, payload.Retiring})
	attempt   = rapid.Uint64Range(1, 2)
	instant   = rapid.Map(rapid.IntRange(0, 20), func(n int) time.Time { return second(n * 100) })
)

// sometimes draws from the generator or leaves the field empty.
func sometimes[V any](from *rapid.Generator[V]) *rapid.Generator[V] {
	var none V
	return rapid.OneOf(rapid.Just(none), from)
}

func request(t *rapid.T) catalog.Request {
	if rapid.IntRange(0, 3).Draw(t, "requested") > 0 {
		return catalog.Request{}
	}
	return catalog.Request{
		Scope:  namespace.Draw(t, "scope"),
		ID:     fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "request")),
		Digest: []byte{byte(rapid.IntRange(1, 2).Draw(t, "digest"))},
	}
}

func place(t *rapid.T) (payload.Tier, string) {
	at := tier.Draw(t, "tier")
	if at.Shared() {
		return at, ""
	}
	return at, host.Draw(t, "host")
}

// condition is mostly one that lets the step through.
func condition(t *rapid.T) (when catalog.If) {
	switch rapid.IntRange(0, 12).Draw(t, "if") {
	case 0:
		when.Namespace = namespace.Draw(t, "namespace")
	case 1:
		when.Version = rapid.Uint64Range(1, 4).Draw(t, "version")
	case 2:
		when.States = rapid.SliceOfN(state, 1, 3).Draw(t, "states")
	case 3:
		when.DueBy = instant.Draw(t, "due by")
	case 4:
		when.Placement = placementIf(t)
	case 5:
		when.Source = placementIf(t)
	}
	return when
}

func placementIf(t *rapid.T) *catalog.PlacementIf {
	c := &catalog.PlacementIf{Absent: rapid.Bool().Draw(t, "absent")}
	c.Tier, c.Host = place(t)
	c.States = rapid.SliceOfN(stage, 0, 2).Draw(t, "stages")
	c.Attempt = sometimes(attempt).Draw(t, "attempt")
	return c
}

func change(t *rapid.T) catalog.Then {
	what := catalog.Then{
		State:  sometimes(state).Draw(t, "state"),
		Retire: rapid.IntRange(0, 7).Draw(t, "retire") == 0,
		Wake:   rapid.Bool().Draw(t, "wake"),
	}
	if rapid.Bool().Draw(t, "put") {
		put := payload.Placement{State: stage.Draw(t, "stage"), Attempt: attempt.Draw(t, "attempt")}
		put.Tier, put.Host = place(t)
		what.Put = &put
	}
	if rapid.IntRange(0, 3).Draw(t, "drop") == 0 {
		what.Drop = &catalog.PlacementIf{}
		what.Drop.Tier, what.Drop.Host = place(t)
	}
	if rapid.IntRange(0, 3).Draw(t, "commit") == 0 {
		expires := instant.Draw(t, "expires")
		what.ExpiresAt, what.ActiveAt = &expires, instant.Draw(t, "active")
		what.Checksum, what.Verified = payload.CRC32C(9), rapid.Bool().Draw(t, "verified")
	}
	return what
}
