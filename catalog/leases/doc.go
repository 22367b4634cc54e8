// Package leases knows who reads which placement of this host, and until when.
// It is the truth about readers: what it calls held may not be freed.
//
// # Shape
//
// A [Table] holds leases in memory, so that the hot path asks nothing else. A
// [Key] is one placement; leases may be granted on it between Open and Close,
// and after Close it drains: what is held runs out or is released, and no
// lease is lengthened.
//
// # Time
//
// Deadlines are readings of a clock that only moves forwards and counts time
// asleep, given as a function; see [Boottime]. The wall clock is never asked,
// so setting it cannot end a lease. Expiry takes effect by comparing time at
// every call; a goroutine that sleeps until the next deadline only notices
// what ended without a call.
//
// # The journal
//
// A table with a [Journal] survives its process, kill -9 included: a lease is
// in the page cache before its Grant returns. That is enough, because what ends
// the page cache ends the readers too; nothing is synced on a call's way. A
// restart may lengthen a lease, namely one whose end found no room on a full
// disk, and never shortens one. [New] makes a table without.
//
// A disk that fails while the journal's pages are read back, or are brought
// into memory, ends the process: who reads what is unknown then.
//
// # What it leaves out
//
// It does not check that a payload exists, who may read it, or tokens, and it
// frees nothing.
package leases
