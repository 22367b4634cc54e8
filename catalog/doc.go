// Package catalog is the truth about which payloads exist, where their
// placements are and how far each is in its life.
//
// # Shape
//
// [Catalog] is one concrete type that holds the rules: which state may follow
// which, what a commit needs, when a payload is due. Below it a [Store] keeps
// the records and carries out one [Step] at a time, atomically. A step's
// conditions are data, and the one function that judges them, [Step.Apply],
// is pure and shared by every store; so memory, SQLite and Postgres cannot
// disagree, and catalogtest checks that they do not.
//
// # What it leaves out
//
// It never touches bytes, leases or Temporal. A change that a workflow has to
// act on leaves an entry in the store's outbox, in the same transaction; who
// reads the outbox is not its concern.
package catalog
