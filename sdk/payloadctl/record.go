package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A record is a payload as it is written, its JSON with the words of the wire.
type record struct {
	ID         payload.ID       `json:"id"`
	Namespace  string           `json:"namespace"`
	Name       string           `json:"name,omitempty"`
	Size       int64            `json:"size"`
	Checksum   payload.Checksum `json:"checksum"`
	Verified   bool             `json:"verified"`
	State      payload.State    `json:"state"`
	Version    uint64           `json:"version"`
	Policy     policy           `json:"policy"`
	CreatedAt  time.Time        `json:"created_at,omitzero"`
	CommitBy   time.Time        `json:"commit_by,omitzero"`
	ActiveAt   time.Time        `json:"active_at,omitzero"`
	ExpiresAt  time.Time        `json:"expires_at,omitzero"`
	EndedAt    time.Time        `json:"ended_at,omitzero"`
	Placements []placement      `json:"placements"`
	Workflow   string           `json:"workflow,omitempty"`

	now time.Time
}

type policy struct {
	Tier         payload.Tier          `json:"tier,omitempty"`
	TTL          span                  `json:"ttl,omitzero"`
	Lifecycle    payload.LifecycleKind `json:"lifecycle,omitempty"`
	CommitWithin span                  `json:"commit_within,omitzero"`
}

type placement struct {
	Tier   payload.Tier           `json:"tier"`
	Host   string                 `json:"host,omitempty"`
	State  payload.PlacementState `json:"state"`
	Leases int                    `json:"leases"`
}

// A span is a duration written as people write one: "1h30m0s".
type span time.Duration

func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

func (t *terminal) record(r sdk.Record) record {
	shown := record{
		ID: r.ID, Namespace: r.Namespace, Name: r.Name, Size: r.Size, Checksum: r.Checksum, Verified: r.Verified,
		State: r.State, Version: r.Version,
		Policy: policy{
			Tier: r.Policy.Tier, TTL: span(r.Policy.TTL),
			Lifecycle: r.Policy.Lifecycle, CommitWithin: span(r.Policy.CommitWithin),
		},
		CreatedAt: r.CreatedAt, CommitBy: r.CommitBy, ActiveAt: r.ActiveAt, ExpiresAt: r.ExpiresAt, EndedAt: r.EndedAt,
		Placements: []placement{},
		Workflow:   r.Workflow, now: t.now(),
	}
	for i, at := range r.Placements {
		p := placement{Tier: at.Tier, Host: at.Host, State: at.State}
		if i < len(r.Leases) {
			p.Leases = r.Leases[i]
		}
		shown.Placements = append(shown.Placements, p)
	}
	return shown
}

func (r record) id() string { return r.ID.String() }

func (r record) facts() [][2]string {
	facts := [][2]string{
		{"id", r.ID.String()},
		{"name", r.Name},
		{"namespace", r.Namespace},
		{"size", fmt.Sprintf("%s (%d bytes)", sizeText(r.Size), r.Size)},
		{"checksum", r.sum()},
		{"state", string(r.State)},
		{"version", strconv.FormatUint(r.Version, 10)},
		{"created", r.when(r.CreatedAt)},
		{"commit by", r.commitBy()},
		{"expires", r.expiry()},
		{"ended", r.when(r.EndedAt)},
		{"workflow", r.Workflow},
	}
	for _, p := range r.Placements {
		facts = append(facts, [2]string{"placement", p.String()})
	}
	return facts
}

func (r record) sum() string {
	if !r.Checksum.Known() {
		return ""
	}
	if r.Verified {
		return r.Checksum.String() + " (verified)"
	}
	return r.Checksum.String() + " (as its producer says)"
}

// commitBy matters only as long as somebody writes.
func (r record) commitBy() string {
	if r.State != payload.StateAllocated {
		return ""
	}
	return r.when(r.CommitBy)
}

// expiry matters only as long as the payload lives.
func (r record) expiry() string {
	switch {
	case r.State.Final():
		return ""
	case r.ExpiresAt.IsZero() && r.State == payload.StateActive:
		return "never"
	default:
		return r.when(r.ExpiresAt)
	}
}

// when is an instant as seen from now, and nothing for none.
func (r record) when(at time.Time) string { return when(at, r.now) }

func when(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return humanize.RelTime(at, now, "ago", "from now")
}

// String reads "ram on alpha, ready, 2 leases".
func (p placement) String() string {
	text := string(p.Tier)
	if p.Host != "" {
		text += " on " + p.Host
	}
	text += ", " + string(p.State)
	if p.Leases > 0 {
		text += ", " + count(p.Leases, "lease")
	}
	return text
}

// brief reads "ram·2": the tier, marked with its state unless that is ready,
// and the leases held there.
func (p placement) brief() string {
	text := string(p.Tier)
	if p.State != payload.Ready {
		text += "(" + string(p.State) + ")"
	}
	if p.Leases > 0 {
		text += "·" + strconv.Itoa(p.Leases)
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func sizeText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

var listHeader = []string{"ID", "NAME", "SIZE", "STATE", "WHERE", "CREATED", "EXPIRES"}

func (r record) row() []string {
	var where []string
	for _, p := range r.Placements {
		where = append(where, p.brief())
	}
	return []string{
		r.ID.String(), dash(r.Name), sizeText(r.Size), string(r.State), dash(strings.Join(where, " ")),
		dash(r.when(r.CreatedAt)), dash(r.expiry()),
	}
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
