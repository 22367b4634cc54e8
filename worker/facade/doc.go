// Package facade is the gRPC server: what every client of a daemon speaks to.
//
// It exists so that nothing else knows the wire. Each call is converted into
// the words of sdk/payload (wire.go), handed to the host's placement or to the
// catalog, and its answer or error converted back (wire.go, errors.go).
//
// # What it checks
//
// Whatever reaches the host is well formed: ids, tiers, sizes, durations, names
// and page tokens are parsed, and a request that can never succeed is refused
// with the name of its field. Whether a well-formed request may succeed now is
// for the catalog and the host to say.
//
// # What it leaves out
//
// It decides nothing about where bytes lie and how long, carries none of them,
// and knows no Temporal: a move is asked of a [Mover].
package facade
