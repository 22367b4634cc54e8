package workflows

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// shown is what the search attributes say, so that only changes cost an event.
type shown struct {
	state   string
	tier    string
	expires time.Time
}

var (
	stateKey   = temporal.NewSearchAttributeKeyKeyword(contract.PayloadState)
	tierKey    = temporal.NewSearchAttributeKeyKeyword(contract.PayloadTier)
	expiresKey = temporal.NewSearchAttributeKeyTime(contract.PayloadExpiresAt)
)

func (s *shown) begin(ctx workflow.Context) {
	given := workflow.GetTypedSearchAttributes(ctx)
	s.state, _ = given.GetKeyword(stateKey)
	s.tier, _ = given.GetKeyword(tierKey)
	s.expires, _ = given.GetTime(expiresKey)
}

// show tells people where things stand: in the list of workflows by search
// attributes, on the workflow's page by a table. The table costs no event.
func (l *life) show(ctx workflow.Context, n next) error {
	workflow.SetCurrentDetails(ctx, l.details(n))
	if l.group || l.ahead.State == "" {
		return nil
	}
	updates := l.shown.update(shown{
		state:   string(l.ahead.State),
		tier:    string(contract.Fastest(l.ahead.Placements)),
		expires: l.ahead.ExpiresAt,
	})
	if len(updates) == 0 {
		return nil
	}
	return workflow.UpsertTypedSearchAttributes(ctx, updates...)
}

// update lists what differs, and takes it over. A tier that is gone stays on
// show: it says where the payload was last.
func (s *shown) update(now shown) (updates []temporal.SearchAttributeUpdate) {
	if now.state != s.state {
		updates = append(updates, stateKey.ValueSet(now.state))
	}
	if now.tier == "" {
		now.tier = s.tier
	}
	if now.tier != s.tier {
		updates = append(updates, tierKey.ValueSet(now.tier))
	}
	// Visibility keeps microseconds or less.
	switch apart := now.expires.Sub(s.expires).Abs() >= time.Millisecond; {
	case apart && now.expires.IsZero():
		updates = append(updates, expiresKey.ValueUnset())
	case apart:
		updates = append(updates, expiresKey.ValueSet(now.expires))
	}
	*s = now
	return updates
}

// details is a Markdown table.
func (l *life) details(n next) string {
	var t table
	if l.group {
		t.row("open payloads", humanize.Comma(int64(l.ahead.Open))+", "+humanize.IBytes(uint64(l.ahead.Bytes)))
	} else {
		t.row("payload", "`"+l.in.Target.ID.String()+"` "+plain(l.in.Name))
		t.row("size", humanize.IBytes(uint64(l.in.Size)))
		t.row("state", fmt.Sprintf("%s, version %d", l.ahead.State, l.ahead.Version))
		t.row("where", where(l.ahead.Placements))
	}
	t.row("namespace", l.in.Namespace)
	t.row("allocated on", l.in.Target.Host)
	if !l.ahead.ExpiresAt.IsZero() {
		t.row("expires", l.ahead.ExpiresAt.UTC().Format(time.RFC3339))
	}
	t.row("freed so far", count(l.done.Freed, "placement")+", "+humanize.IBytes(uint64(l.done.Bytes)))
	t.row("next", l.prospect(n))
	return t.String()
}

// prospect says what happens next, and when.
func (l *life) prospect(n next) string {
	switch {
	case n.do == finish && l.ahead.Group != "":
		return "a group lifecycle carries the payload from here: " + plain(l.ahead.Group)
	case n.do == finish:
		return "nothing: this is the end"
	case n.do == reap:
		return "free what is due on " + strings.Join(n.hosts, ", ")
	case n.until.IsZero():
		return "sleep " + n.why
	default:
		return "at " + n.until.UTC().Format(time.RFC3339) + ": " + n.why
	}
}

// where reads "ram on a (ready), object (filling)".
func where(placements []contract.At) string {
	var words []string
	for _, at := range placements {
		word := string(at.Tier)
		if at.Host != "" {
			word += " on " + plain(at.Host)
		}
		if at.State != payload.Ready {
			word += " (" + string(at.State) + ")"
		}
		words = append(words, word)
	}
	if words == nil {
		return "nowhere"
	}
	return strings.Join(words, ", ")
}

type table struct{ strings.Builder }

func (t *table) row(key, value string) {
	if t.Len() == 0 {
		t.WriteString("| | |\n|---|---|\n")
	}
	fmt.Fprintf(t, "| **%s** | %s |\n", key, value)
}

// plain takes the meaning out of characters that Markdown reads.
func plain(text string) string { return markdown.Replace(text) }

var markdown = strings.NewReplacer(
	`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", `\<`, ">", `\>`, "[", `\[`, "]", `\]`,
)
