package relay

import (
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

const (
	// settling is how long an entry waits for more of its payload, so that an
	// allocation and its commit, or a whole short life, are one message or none.
	settling = time.Second
	// tolerated is how far behind the relay may be before payloads whose policy
	// leaves it open go to groups.
	tolerated = 2 * time.Second
	// affordable is how many lifecycles of their own a small Temporal server
	// (two cores, 30 starts a second) opens within the tolerated time.
	affordable = 60
	// bucket is the time that one group collects payloads for. Ten minutes of
	// 5,000 payloads a second are 3 million members in 3,000 signals, below the
	// 10,000 that a run takes.
	bucket = 10 * time.Minute
)

// A round is what to do with the entries that were read.
type round struct {
	over   []catalog.Entry            // their payloads came and went: nobody ever heard of them
	ended  []catalog.Entry            // their payloads are at their end: whoever carries one may end too
	own    []catalog.Entry            // each to its own lifecycle
	groups map[string][]catalog.Entry // to a group's lifecycle
	more   bool                       // there is more to do at once
}

// sort decides who hears of each entry. read is how many entries were asked
// for: as many answers mean that there may be more.
func sort(b catalog.Backlog, host string, read int, now time.Time) round {
	r := round{groups: map[string][]catalog.Entry{}}
	flooded := behind(b, now)
	for _, e := range b.Entries {
		switch p := e.Payload; {
		case now.Sub(e.Since) < settling:
			return r // entries come oldest first: all others are younger
		case !catalog.Open(p) && isNew(e):
			r.over = append(r.over, e)
		case !catalog.Open(p):
			r.ended = append(r.ended, e)
		case p.Group != "":
			r.groups[p.Group] = append(r.groups[p.Group], e)
		case p.Policy.Lifecycle == payload.LifecycleGroup, p.Policy.Lifecycle == payload.LifecycleAuto && flooded:
			name := groupOf(p, host, now)
			r.groups[name] = append(r.groups[name], e)
		default:
			r.own = append(r.own, e)
		}
	}
	r.more = len(b.Entries) == read
	return r
}

// isNew reports whether the entry stands for the payload's creation too and the
// payload never moved, so that no lifecycle was started for it yet.
func isNew(e catalog.Entry) bool {
	const unmoved = 4 // the version after allocate, commit, delete and the end
	return !e.Since.After(e.Payload.CreatedAt) && e.Payload.Version <= unmoved
}

// behind reports whether more payloads wait than can each have a lifecycle of
// their own in time.
func behind(b catalog.Backlog, now time.Time) bool {
	if len(b.Entries) == 0 {
		return false
	}
	var open int
	for _, e := range b.Entries {
		if catalog.Open(e.Payload) && e.Payload.Group == "" {
			open++
		}
	}
	beyond := b.Total - len(b.Entries)
	return open+beyond > affordable || now.Sub(b.Entries[0].Since) > settling+tolerated
}

// groupOf names the group that a payload joins now.
func groupOf(p payload.Payload, host string, now time.Time) string {
	return contract.GroupID(p.Namespace, home(p, host), now.UTC().Truncate(bucket).Format("20060102T1504"))
}

// home is the host whose lifecycle worker carries the payload: where its bytes
// are, else this one.
func home(p payload.Payload, host string) string {
	for _, at := range p.Placements {
		if at.Host != "" {
			return at.Host
		}
	}
	return host
}
