package tiers

import (
	"sync"
	"unsafe"
)

// buffers keeps memory for pieces on their way between two storages that are
// not mapped. It is aligned to pages, as direct I/O wants it.
type buffers struct{ pool sync.Pool }

// get returns size bytes of whatever content. Only pieces of the usual size
// are kept for the next time: the longer ones of huge payloads are rare.
func (b *buffers) get(size int64) (bytes []byte, done func()) {
	if size > PieceSize {
		return aligned(size), func() {}
	}
	kept, ok := b.pool.Get().(*[]byte)
	if !ok {
		fresh := aligned(PieceSize)
		kept = &fresh
	}
	return (*kept)[:size], func() { b.pool.Put(kept) }
}

// aligned cuts size bytes out of a longer slice, so that they begin at a page.
// Go does not move what lies on the heap.
func aligned(size int64) []byte {
	const page = 4096
	raw := make([]byte, size+page)
	skip := int64(-uintptr(unsafe.Pointer(&raw[0])) % page)
	return raw[skip : skip+size : skip+size]
}
