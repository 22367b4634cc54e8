package contract

import (
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Lifecycle carries one payload from its allocation to its tombstone.
const Lifecycle Workflow[LifecycleInput, LifecycleResult] = "payload.Lifecycle"

// GroupLifecycle does the same for many payloads at once.
const GroupLifecycle Workflow[LifecycleInput, LifecycleResult] = "payload.GroupLifecycle"

// Sweep repairs, from the catalog, what a lost workflow or message left behind.
const Sweep Workflow[SweepInput, SweepResult] = "payload.Sweep"

// A Target is what a lifecycle carries: one payload, or a group.
type Target struct {
	ID    payload.ID `json:"id,omitzero"`
	Group string     `json:"group,omitempty"`
	// Host is where the payloads were allocated. What no host owns, ends of
	// life and the shared tier, is done there.
	Host string `json:"host"`
}

// LifecycleInput starts a lifecycle.
type LifecycleInput struct {
	Target    Target `json:"target"`
	Namespace string `json:"namespace"`
	Name      string `json:"name,omitempty"`
	Size      int64  `json:"size,omitempty"` // bytes, of a single payload
	// Carried counts what earlier runs of a continued lifecycle did.
	Carried LifecycleResult `json:"carried,omitzero"`
}

// LifecycleResult says how it ended.
type LifecycleResult struct {
	State payload.State `json:"state,omitempty"` // of a single payload
	Freed int           `json:"freed"`           // placements
	Bytes int64         `json:"bytes"`           // freed
	Moves int           `json:"moves,omitempty"` // promotions and spills carried out
}

// Wake tells a lifecycle to look at the catalog again: something changed, or
// the last lease on a retiring placement ended. It carries nothing, because
// the catalog is the truth.
const Wake Signal[struct{}] = "wake"

// Promote asks a payload's lifecycle for a copy in a faster tier; the answer
// comes when the copy is readable.
const Promote Update[MoveRequest, MoveResult] = "promote"

// Spill asks a payload's lifecycle for a copy in a slower tier, and to give up
// the faster ones; the answer comes when the slower copy is readable and the
// faster ones take no new leases.
const Spill Update[MoveRequest, MoveResult] = "spill"

// A MoveRequest names the tier to move to, and the host whose tier is meant.
type MoveRequest struct {
	To   payload.Tier `json:"to"`
	Host string       `json:"host"`
}

// A MoveResult says what a move came to.
type MoveResult struct {
	Version uint64 `json:"version"` // the payload's, afterwards
	Bytes   int64  `json:"bytes"`   // copied; 0 when a copy was there already
}

// Tend does what is due for a single payload if the worker that runs it is on
// the target's host, and says what lies ahead. A group's payloads it leaves to
// Reap. It is quick, and runs as a local activity.
const Tend Activity[Target, Reaped] = "payload.Tend"

// Reap does what is due on one host: it expires, aborts and frees, for one
// payload or page by page for a group. It runs on the host's queue. Reaping
// what is not due does nothing, so it may run twice.
const Reap Activity[Target, Reaped] = "payload.Reap"

// Reaped says what a Tend or a Reap came to.
type Reaped struct {
	Host    string    `json:"host,omitempty"`    // where it ran; empty when a Tend only looked
	Freed   int       `json:"freed"`             // placements
	Bytes   int64     `json:"bytes"`             // in them
	Failed  int       `json:"failed,omitempty"`  // payloads of a group that wait for another try
	Waiting int       `json:"waiting,omitempty"` // placements that leases or readers hold
	Leases  int       `json:"leases,omitempty"`  // how many leases those are
	Until   time.Time `json:"until,omitzero"`    // when the last of them ends at the latest
	Ahead   Outlook   `json:"ahead"`             // afterwards
}

// An Outlook is what a lifecycle has before it.
type Outlook struct {
	Open  int       `json:"open"`            // payloads that are not tombstones without bytes
	Bytes int64     `json:"bytes"`           // their sizes
	Next  time.Time `json:"next,omitzero"`   // when the next is due; zero with Ever: at once
	Ever  bool      `json:"ever,omitempty"`  // whether any is due at all
	Hosts []string  `json:"hosts,omitempty"` // where the next thing has to be done
	// What follows is known for a single payload only.
	State      payload.State `json:"state,omitempty"`
	Version    uint64        `json:"version,omitempty"`
	Group      string        `json:"group,omitempty"` // whose lifecycle carries the payload, if any does
	ExpiresAt  time.Time     `json:"expires_at,omitzero"`
	Placements []At          `json:"placements,omitempty"`
}

// An At is one placement, for people to read.
type At struct {
	Tier  payload.Tier           `json:"tier"`
	Host  string                 `json:"host,omitempty"`
	State payload.PlacementState `json:"state"`
}

// Copy makes one placement ready: reserve, copy, verify, switch. It runs on the
// queue of the host whose tier is the target and heartbeats a Progress. Where
// a ready copy is there already it answers at once.
const Copy Activity[CopyInput, MoveResult] = "payload.Copy"

// CopyInput names the payload and where the copy goes.
type CopyInput struct {
	ID   payload.ID   `json:"id"`
	To   payload.Tier `json:"to"`
	Host string       `json:"host"`
}

// Progress is a heartbeat's details.
type Progress struct {
	Done  int64 `json:"done"`  // bytes
	Total int64 `json:"total"` // bytes
}

// Retire closes to new leases every placement that one host has in a tier faster
// than the named one. It runs on that host's queue. Freeing is Reap's work.
const Retire Activity[RetireInput, MoveResult] = "payload.Retire"

// RetireInput names the placements to give up.
type RetireInput struct {
	ID     payload.ID   `json:"id"`
	Faster payload.Tier `json:"faster_than"`
	Host   string       `json:"host"`
}

// SweepOverdue writes outbox entries for payloads that are overdue, and
// forgets old tombstones.
const SweepOverdue Activity[SweepInput, SweepResult] = "payload.SweepOverdue"

// SweepInput says what counts as overdue and as old.
type SweepInput struct {
	Grace     time.Duration `json:"grace"`     // how long after its Due a payload is overdue
	Retention time.Duration `json:"retention"` // how long tombstones are kept
}

// SweepResult counts what a sweep did.
type SweepResult struct {
	Woken     int `json:"woken"`     // lifecycles
	Forgotten int `json:"forgotten"` // tombstones and answers
}

// BeatEvery is how often Reap, Copy and SweepOverdue heartbeat. Whoever
// schedules them gives up on a worker that missed several beats.
const BeatEvery = 5 * time.Second
