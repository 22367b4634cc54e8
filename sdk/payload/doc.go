// Package payload is the vocabulary of Payload Manager: the words that every
// other package, the wire, the database, the command line and the documents
// use, each with one meaning.
//
// It exists so that a thing has one name everywhere. It imports nothing of
// ours, does no I/O and reads no clock.
//
// # Words
//
// A payload is immutable bytes with an [ID], a namespace, a size, a [Checksum]
// and a [Policy]. A [Placement] is one copy of them in one [Tier] on one host.
// A [Descriptor] says how to reach one placement; a [Lease] promises that the
// placement stays readable where it is until it is released or expires.
package payload
