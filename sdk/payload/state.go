package payload

import "slices"

// A State is where a payload stands in its life. Promotion and spill change
// placements, not the state: a payload is readable all the time while it moves.
//
//	allocated → active → expired | deleting → deleted
//	allocated → aborted            (never committed)
//	active    → lost               (every placement gone)
type State string

const (
	StateAllocated State = "allocated" // room is reserved, a producer writes
	StateActive    State = "active"    // committed, immutable, readable
	StateExpired   State = "expired"   // its time to live is over; bytes await freeing
	StateDeleting  State = "deleting"  // deletion was asked for; bytes await freeing
	StateDeleted   State = "deleted"   // no bytes are left: a tombstone
	StateAborted   State = "aborted"   // never committed, no bytes are left: a tombstone
	StateLost      State = "lost"      // every placement vanished: a tombstone
)

// States lists every state in the order of a life.
func States() []State {
	return []State{StateAllocated, StateActive, StateExpired, StateDeleting, StateDeleted, StateAborted, StateLost}
}

// ParseState reads a state's name. Its error has code [Invalid].
func ParseState(name string) (State, error) {
	if s := State(name); slices.Contains(States(), s) {
		return s, nil
	}
	return "", Errorf(Invalid, "state %q is unknown: use one of %v", clip(name), States())
}

// Final reports whether nothing follows the state: a tombstone.
func (s State) Final() bool { return s == StateDeleted || s == StateAborted || s == StateLost }

// Doomed reports whether the payload's bytes only wait to be freed.
func (s State) Doomed() bool { return s == StateExpired || s == StateDeleting }

// A PlacementState is where one copy of a payload's bytes stands:
// filling → ready → retiring → gone. What is gone has no record.
type PlacementState string

const (
	Filling  PlacementState = "filling"  // being written or copied; never served
	Ready    PlacementState = "ready"    // complete, verified as far as known, served
	Retiring PlacementState = "retiring" // no new leases; freed after the last one
)
