package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var noon = time.Date(2026, 11, 23, 12, 3, 4, 0, time.UTC)

func entry(t *testing.T, age time.Duration, change ...func(*payload.Payload)) catalog.Entry {
	id, err := payload.NewID()
	require.NoError(t, err)
	p := payload.Payload{
		ID: id, Namespace: "default", State: payload.StateActive, Policy: payload.Policy{Lifecycle: payload.LifecycleAuto},
		Placements: []payload.Placement{{Tier: payload.RAM, Host: "alpha", State: payload.Ready}},
	}
	for _, c := range change {
		c(&p)
	}
	return catalog.Entry{Payload: p, Since: noon.Add(-age)}
}

func lifecycle(kind payload.LifecycleKind) func(*payload.Payload) {
	return func(p *payload.Payload) { p.Policy.Lifecycle = kind }
}

func backlog(entries ...catalog.Entry) catalog.Backlog {
	return catalog.Backlog{Entries: entries, Total: len(entries)}
}

func TestFewPayloadsGetLifecyclesOfTheirOwn(t *testing.T) {
	r := sort(backlog(entry(t, 2*time.Second), entry(t, settling)), "alpha", 10, noon)
	require.Len(t, r.own, 2)
	require.Empty(t, r.groups)
	require.False(t, r.more)
}

func TestAYoungEntryWaitsForMoreOfItsPayload(t *testing.T) {
	r := sort(backlog(entry(t, settling-1)), "alpha", 10, noon)
	require.Equal(t, round{groups: map[string][]catalog.Entry{}}, r)
}

func TestAPayloadThatIsGoneBeforeItsTurnNeverGetsAWorkflow(t *testing.T) {
	gone := entry(t, time.Hour, ended, func(p *payload.Payload) { p.CreatedAt = noon.Add(-time.Hour) })
	r := sort(backlog(gone), "alpha", 10, noon)
	require.Len(t, r.over, 1)
	require.Empty(t, r.own)
	require.Empty(t, r.ended)
}

func TestALifecycleHearsThatItsPayloadEndedWithoutIt(t *testing.T) {
	gone := entry(t, time.Hour, ended, func(p *payload.Payload) { p.CreatedAt = noon.Add(-2 * time.Hour) })
	r := sort(backlog(gone), "alpha", 10, noon)
	require.Len(t, r.ended, 1)
	require.Empty(t, r.over)
	require.Empty(t, r.own)
}

func ended(p *payload.Payload) { p.State, p.Placements = payload.StateDeleted, nil }

func TestAFloodGoesToTheGroupOfItsNamespaceHostAndTime(t *testing.T) {
	var flood []catalog.Entry
	for range affordable + 1 {
		flood = append(flood, entry(t, settling))
	}
	r := sort(backlog(flood...), "beta", 10_000, noon)
	require.Empty(t, r.own)
	require.Len(t, r.groups["payloads:default:alpha:20261123T1200"], affordable+1)
}

func TestAFloodBeyondWhatWasReadIsSeen(t *testing.T) {
	b := backlog(entry(t, settling))
	b.Total = 10_000
	r := sort(b, "alpha", 1, noon)
	require.Empty(t, r.own)
	require.Len(t, r.groups, 1)
	require.True(t, r.more)
}

func TestARelayThatIsBehindUsesGroups(t *testing.T) {
	r := sort(backlog(entry(t, settling+tolerated+1)), "alpha", 10, noon)
	require.Len(t, r.groups, 1)
}

func TestAPolicyIsKeptWhateverTheLoad(t *testing.T) {
	own := entry(t, time.Hour, lifecycle(payload.LifecycleOwn))
	group := entry(t, settling, lifecycle(payload.LifecycleGroup))

	late := sort(backlog(own), "alpha", 10, noon)
	require.Len(t, late.own, 1)
	idle := sort(backlog(group), "alpha", 10, noon)
	require.Len(t, idle.groups, 1)
}

func TestAMemberOfAGroupStaysInIt(t *testing.T) {
	member := entry(t, settling, func(p *payload.Payload) { p.Group = "payloads:default:alpha:old" })
	r := sort(backlog(member), "alpha", 10, noon)
	require.Len(t, r.groups["payloads:default:alpha:old"], 1)
}

func TestPayloadsThatOnlyBucketsHoldBelongToTheHostThatAsks(t *testing.T) {
	shared := entry(t, settling, lifecycle(payload.LifecycleGroup), func(p *payload.Payload) {
		p.Placements = []payload.Placement{{Tier: payload.Object, State: payload.Ready}}
	})
	r := sort(backlog(shared), "beta", 10, noon)
	require.Contains(t, r.groups, "payloads:default:beta:20261123T1200")
}

func TestASummaryIsNoMarkup(t *testing.T) {
	require.Equal(t, `a\*b\_c\<i>, 3.0 KiB`, summary(payload.Payload{Name: "a*b_c<i>", Size: 3072}))
	require.Equal(t, "payload, 0 B", summary(payload.Payload{}))
}
