// Package placement is what one host does with its payloads: allocate, commit,
// lease, copy, retire, free. The façade, the data door and the activities call
// it; it knows neither gRPC nor Temporal.
//
// # How it keeps the promises
//
// P1, a leased placement never moves, changes or vanishes: a placement that was
// ever ready is freed in one function alone, free, and only after the lease
// table closed it and holds no lease on it. Reap, Delete and Abort all go through
// it. The table, not the catalog, says who reads.
//
// P3, wrong bytes are never served: commit seals before it sums; a copy is
// switched to ready only when its checksum is the payload's.
//
// P5, nothing leaks: room is reserved before the catalog hears of it, and given
// back where the catalog refuses. What a client leaves behind, leases and
// uncommitted allocations, goes with its session.
//
// P6, the hot path touches neither Temporal nor the database: [Host] keeps the
// record of every payload that it serves in memory. A record changes only under
// its payload's stripe lock, in step with the catalog, and the lease table is
// opened and closed under the same lock; readers take none of it.
//
// # What it leaves out
//
// When a payload moves or dies is decided by workflows. Leases on the shared
// tier are known to the host that granted them.
package placement
