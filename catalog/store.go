package catalog

import (
	"context"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Store keeps the catalog's records. Its methods may be called concurrently,
// by many goroutines and, where the store is shared, by many hosts; callers
// queue and share commits, so that "busy" and its relatives never come out.
// What a method wrote is durable when it returns nil. The folders below hold
// one Store each; all pass catalogtest.
//
// Errors: NotFound for a missing payload, what Step.Apply says for a refused
// step, Unavailable with RetryAfter when the database cannot be reached or is
// shutting down. A step that came back Unavailable may have been written; a
// Request makes repeating it safe.
type Store interface {
	// Do carries out one step: it loads the record, calls Step.Apply, and
	// writes the record, its Due and Open, its outbox entry if Then.Wake, and
	// the answer to the Request, in one transaction. Of concurrent steps on one
	// payload each sees the one before it.
	Do(ctx context.Context, s Step) (payload.Payload, error)

	// Get returns one payload.
	Get(ctx context.Context, id payload.ID) (payload.Payload, error)

	// List returns the payloads that match, ordered by id, at most q.Limit.
	List(ctx context.Context, q Query) ([]payload.Payload, error)

	// Outlook sums up the payloads of one group.
	Outlook(ctx context.Context, group string) (Outlook, error)

	// Pending returns the outbox's oldest entries, at most limit.
	Pending(ctx context.Context, limit int) (Backlog, error)

	// Settle removes the entries that were not written again since they were
	// read. Where group is not empty, it also makes their payloads members of
	// that group unless they belong to one.
	Settle(ctx context.Context, delivered []Entry, group string) error

	// PutHost records a host, replacing what was known of it.
	PutHost(ctx context.Context, h Host) error

	// Hosts returns every host, ordered by name.
	Hosts(ctx context.Context) ([]Host, error)

	// Prune forgets tombstones that ended before the instant and answers to
	// requests made before it, at most limit of each, and counts what it forgot.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)

	// Close waits for what is under way and lets go of the database.
	Close() error
}

// A Query selects payloads. Zero fields select everything.
type Query struct {
	Namespace string
	States    []payload.State
	Tier      payload.Tier // has a placement there, in whatever state
	Host      string       // has a placement there
	Group     string
	OpenOnly  bool       // leaves out tombstones
	DueBy     *time.Time // has a Due not after this
	After     payload.ID // the last id of the page before
	Limit     int        // 1 to payload.MaxBatch
}

// An Outlook is what a lifecycle has before it: how many of its payloads are
// still open, and when the next of them is due.
type Outlook struct {
	Open  int
	Bytes int64     // the sizes of the open payloads
	Next  time.Time // when the next payload is due; zero: at once
	Ever  bool      // whether any is due at all
}

// An Entry is a payload whose lifecycle has to hear of a change. Entries of one
// payload coalesce.
type Entry struct {
	Payload payload.Payload // as it is now
	Since   time.Time       // when the oldest change that it stands for was made
	Seq     uint64          // which write of the entry this is
}

// A Backlog is the outbox as its reader sees it.
type Backlog struct {
	Entries []Entry // oldest first
	Total   int     // all entries, those beyond the limit included
}

// A Host is one machine that runs the daemon.
type Host struct {
	Name    string
	Address string // its façade, as other hosts reach it; may be empty
	Version string // of the daemon
	BootID  string // of the running kernel
	Seen    time.Time
}
