package payload

import "time"

// A Payload is the record of one payload as the catalog has it.
type Payload struct {
	ID        ID
	Namespace string
	Name      string // a human's name; need not be unique
	Size      int64  // bytes
	Checksum  Checksum
	Verified  bool // the checksum was computed by us from sealed bytes
	Policy    Policy
	State     State
	// Version rises with every change of state or of the ready placements. It
	// fences clients that decide on what they saw.
	Version uint64
	// Group names the group lifecycle that carries the payload; empty means
	// that it has, or will have, a workflow of its own.
	Group      string
	CreatedAt  time.Time
	CommitBy   time.Time // an allocation not committed by then is aborted
	ActiveAt   time.Time // zero before commit
	ExpiresAt  time.Time // zero: never
	EndedAt    time.Time // zero before a final state
	Placements []Placement
}

// A Placement is one copy of a payload's bytes in one tier on one host. Host is
// empty for the shared tier.
type Placement struct {
	Tier  Tier
	Host  string
	State PlacementState
	// Attempt fences the writers of this placement: it rises with every new
	// start of filling it, so that a late copy of an older attempt is refused.
	Attempt uint64
	// Location is the tier's own word for where the bytes are. It goes into
	// no error, log, metric or workflow history.
	Location string
}

// At returns the placement in a tier on a host. The shared tier's is found
// whatever the host.
func (p Payload) At(tier Tier, host string) (Placement, bool) {
	for _, at := range p.Placements {
		if at.Tier == tier && (at.Host == host || tier.Shared()) {
			return at, true
		}
	}
	return Placement{}, false
}

// ExpiredAt reports whether the payload's time to live is over at now. TTL
// takes effect by this comparison; freeing follows later.
func (p Payload) ExpiredAt(now time.Time) bool {
	return !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
}

// A Descriptor says how to reach one placement. It is a snapshot: without a
// lease the bytes may be gone the next moment.
type Descriptor struct {
	ID       ID
	Version  uint64
	Tier     Tier
	Host     string
	Size     int64
	Checksum Checksum
	// URL reaches an object placement over HTTP until URLExpires after it was
	// handed out. Bytes on a host are reached by trading a token at its data
	// door instead.
	URL        string
	URLExpires time.Duration
}

// A Lease is the promise that one placement stays readable where it is. It
// belongs to its holder, and is worth its token at the data door.
type Lease struct {
	ID         string
	Descriptor Descriptor
	Holder     string
	// Remaining is how long the lease still held when it was handed out:
	// durations travel, instants of another machine's clock do not.
	Remaining time.Duration
	Token     Token
}

// A Token opens one thing at one host: a write to one allocation, or a read
// under one lease. It is opaque to its holder, and secret.
type Token []byte

// String hides the token, so that it cannot reach a log by accident.
func (Token) String() string { return "[token]" }
