package leases

import (
	"encoding/binary"
	"slices"
	"time"
)

// An index is what a journal's records come to. It knows where the grants of
// the leases lie that have not ended, and not what is in them: some dozen bytes
// a lease, whatever its holder is called.
type index struct {
	last   uint64 // number of the last lease granted
	grants map[uint64]grantAt
	closed map[Key]bool
	// forgotten is where a key was forgotten last. A lease on it that was
	// granted before has no placement any more.
	forgotten map[Key]int
}

type grantAt struct {
	at    int // in the file
	until time.Duration
	flags byte
}

// scan indexes a file's records up to end, or to the first that is not whole,
// and says where that is.
func scan(f *file, end int) (ix *index, tail int) {
	usual := (end - headerSize) / 256 // a lease's share of a file, half of which is garbage
	ix = &index{last: f.last, grants: make(map[uint64]grantAt, usual), closed: map[Key]bool{}, forgotten: map[Key]int{}}
	at := headerSize
	for {
		r, whole := next(f.data[at:end])
		if !whole || !ix.apply(r, at) {
			return ix, at
		}
		at += len(r)
	}
}

// apply reports whether it could make sense of the record.
func (ix *index) apply(r record, at int) bool {
	body := r.body()
	switch r.kind() {
	case kindGrant:
		number, until, k := body.claim()
		ix.grant(number, grantAt{at, until, r[flagsAt]}, k)
	case kindRenewal:
		ix.renew(body.number(), body.time())
	case kindEnd:
		delete(ix.grants, body.number())
	case kindClose:
		ix.closed[body.key()] = true
	case kindForget:
		ix.forget(body.key(), at)
	default:
		return false
	}
	return !body.bad
}

// grant notes a lease. One on a closed placement shows that the placement was
// forgotten and opened anew, though the record of that found no room.
func (ix *index) grant(number uint64, g grantAt, k Key) {
	if g.flags&flagHomeless == 0 && ix.closed[k] {
		ix.forget(k, g.at)
	}
	ix.grants[number] = g
	ix.last = max(ix.last, number)
}

func (ix *index) renew(number uint64, until time.Duration) {
	if g, known := ix.grants[number]; known {
		g.until = max(g.until, until)
		ix.grants[number] = g
	}
}

func (ix *index) forget(k Key, at int) {
	delete(ix.closed, k)
	ix.forgotten[k] = at
}

// living lists the leases that hold at now, the oldest first.
func (ix *index) living(now time.Duration) []uint64 {
	numbers := make([]uint64, 0, len(ix.grants))
	for number, g := range ix.grants {
		if now < g.until {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// homeless reports whether a lease's placement was forgotten after its grant.
func (ix *index) homeless(g grantAt, k Key) bool {
	at, known := ix.forgotten[k]
	return g.flags&flagHomeless != 0 || known && g.at < at
}

// recordAt cuts a record that was indexed.
func recordAt(data []byte, at int) record {
	length := int(binary.LittleEndian.Uint32(data[at+lengthAt:]))
	return data[at : at+kindAt+length]
}
