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
// # What it leaves out
//
// It does not check that a payload exists, who may read it, or tokens, and it
// frees nothing. It forgets everything with its process.
package leases
