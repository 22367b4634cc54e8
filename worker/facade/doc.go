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
// # Whose a call is
//
// Over a Unix socket the kernel says which process connected (peer.go) and when
// it dies (deaths.go). What a client holds belongs to its session (sessions.go),
// which ends with its process, or when it says that it is done, and never
// because a connection broke: so no lease is shortened by an outage (P8), and
// nothing of a dead client stays (P5).
//
// # What it leaves out
//
// It decides nothing about where bytes lie and how long, carries none of them,
// and knows no Temporal: a move is asked of a [Mover].
package facade
