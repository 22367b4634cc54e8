// Package worker assembles the daemon: it alone knows which backends exist, in
// which order the parts start, and that they stop in reverse.
//
// # Order
//
//	data directory and its lock → catalog → vault → tiers → leases → placement,
//	which compares all of them → façade and data door → Temporal
//
// Everything up to the door has to stand before the daemon serves. Temporal
// need not: while it cannot be reached, payloads are allocated, committed and
// leased all the same, and their lifecycles catch up when it returns.
//
// The vault is found or started, and left running: it is there for the time
// between two daemons. When it dies under a living one, another is found and
// handed what the daemon has open.
package worker
