// Package relay brings the catalog's outbox to Temporal, and the Updates that
// RPCs wait for.
//
// # Why an outbox
//
// A payload's change and the word to its lifecycle are written in one
// transaction; the relay carries the word later. So an outage of Temporal stops
// no allocate, commit or delete, and loses no lifecycle. Delivery is at least
// once: an entry is removed after Temporal took it, and only if it was not
// written again meanwhile.
//
// # Own and group
//
// A workflow costs a Temporal server 30 to 80 ms of processor time, a payload of
// a group lifecycle a thousandth of that. While few payloads wait each gets a
// workflow of its own; when more wait than a small server starts in two
// seconds, they join their namespace's current group. The decision is the pure
// function sort.
//
// # What it leaves out
//
// It decides nothing about payloads. What a woken lifecycle does, it finds in
// the catalog.
package relay
