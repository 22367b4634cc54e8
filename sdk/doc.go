// Package sdk is the Go client of Payload Manager: it allocates payloads,
// writes and commits them, and reads them under a lease, in the caller's own
// memory.
//
//	client, err := sdk.Dial(ctx, "")
//	writer, err := client.Allocate(ctx, int64(len(frame)), sdk.WithTTL(time.Hour))
//	copy(writer.Bytes(), frame)
//	p, err := writer.Commit(ctx)
//
//	reader, err := client.Open(ctx, p.ID)
//	defer reader.Close()
//	bytes, err := reader.Bytes()
//
// # How bytes travel
//
// They do not. A [Client] speaks to the daemon of its host over gRPC and gets
// descriptors, tokens and leases of a few hundred bytes. A [Writer] and a
// [Reader] trade their token at the daemon's data door for a file descriptor
// and map it; only the object tier is reached by HTTP, directly.
//
// # What a process leaves behind
//
// Nothing: what a [Client] leased or allocated and did not release or commit is
// given back when it is closed. On the daemon's machine the same happens as soon
// as the process is dead, however it died; else when the deadlines come.
//
// # Errors
//
// Every error of a call is a *[payload.Error] with the code that the daemon
// gave, so that errors.Is(err, payload.NotFound) works. Calls carry an id of
// their own and are repeated, within the deadline of their context, when the
// daemon says that a repeat makes sense; a change is never made twice.
//
// # What it leaves out
//
// It knows no Temporal, no database and no cgo, and caches nothing: where bytes
// are is the daemon's to say.
package sdk
