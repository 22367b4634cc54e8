package leases

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A record is one change of the table, as the journal holds it. All numbers
// are little endian.
//
//	crc     4  CRC32C of what follows it
//	length  4  of what follows it; 0 where the journal ends
//	kind    1
//	flags   1
//
// Then, by kind:
//
//	grant           number 8, until 8, since 8, duration 8, key, session, holder, request
//	renewal         number 8, until 8
//	end             number 8
//	close, forget   key
//
// A key is id 16, attempt 8, tier; a text is its length as a uvarint and its
// bytes. Times are readings of the table's clock, in nanoseconds.
//
// Expiry is not recorded: it follows from until. Nor is opening: a placement
// that is ready is opened again at every start.
type record []byte

type kind byte

const (
	kindGrant kind = 1 + iota
	kindRenewal
	kindEnd
	kindClose
	kindForget
)

// flagHomeless marks a lease whose placement was forgotten before it ended.
const flagHomeless = 1

// Where the parts of a record begin, and how long those of fixed length are.
const (
	lengthAt = 4
	kindAt   = 8
	flagsAt  = 9
	bodyAt   = 10
	untilAt  = bodyAt + 8

	endSize     = bodyAt + 8
	renewalSize = untilAt + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// next cuts the first record off b. It is not whole where the journal ends, and
// where it was torn or damaged.
func next(b []byte) (r record, whole bool) {
	if len(b) < bodyAt {
		return nil, false
	}
	length := uint64(binary.LittleEndian.Uint32(b[lengthAt:]))
	if length < bodyAt-kindAt || length > uint64(len(b)-kindAt) {
		return nil, false
	}
	r = b[:kindAt+length]
	return r, binary.LittleEndian.Uint32(r) == crc32.Checksum(r[lengthAt:], castagnoli)
}

func (r record) kind() kind { return kind(r[kindAt]) }

// seal fills in what depends on the rest.
func (r record) seal() record {
	binary.LittleEndian.PutUint32(r[lengthAt:], uint32(len(r)-kindAt))
	binary.LittleEndian.PutUint32(r, crc32.Checksum(r[lengthAt:], castagnoli))
	return r
}

// amend sets what may have changed since a lease was granted.
func (r record) amend(until time.Duration, flags byte) {
	binary.LittleEndian.PutUint64(r[untilAt:], uint64(until))
	r[flagsAt] = flags
	r.seal()
}

func blank(b []byte, k kind) []byte {
	return append(b[:0], 0, 0, 0, 0, 0, 0, 0, 0, byte(k), 0)
}

func appendTime(b []byte, d time.Duration) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(d))
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendKey(b []byte, k Key) []byte {
	b = append(b, k.ID[:]...)
	b = binary.LittleEndian.AppendUint64(b, k.Attempt)
	return appendText(b, string(k.Tier))
}

// The functions below write one record each into b's memory.

func recordGrant(b []byte, l *lease) record {
	b = binary.LittleEndian.AppendUint64(blank(b, kindGrant), l.number)
	b = appendTime(b, l.until)
	b = appendTime(b, l.since)
	b = appendTime(b, l.asked.Duration)
	b = appendKey(b, l.asked.Key)
	b = appendText(b, l.asked.Session)
	b = appendText(b, l.asked.Holder)
	return record(appendText(b, l.asked.Request)).seal()
}

func recordRenewal(b []byte, l *lease) record {
	b = binary.LittleEndian.AppendUint64(blank(b, kindRenewal), l.number)
	return record(appendTime(b, l.until)).seal()
}

func recordEnd(b []byte, number uint64) record {
	return record(binary.LittleEndian.AppendUint64(blank(b, kindEnd), number)).seal()
}

func recordKey(b []byte, k kind, key Key) record {
	return record(appendKey(blank(b, k), key)).seal()
}

func textSize(text string) int {
	size := 1 + len(text)
	for n := len(text); n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func keyRecordSize(k Key) int { return bodyAt + len(k.ID) + 8 + textSize(string(k.Tier)) }

// grantSize is how long the record of an ask's lease is.
func grantSize(ask Ask) int {
	return 4*8 + keyRecordSize(ask.Key) + textSize(ask.Session) + textSize(ask.Holder) + textSize(ask.Request)
}

// A cursor reads a record's body from its beginning. Once something does not
// fit, it is bad and reads zeros.
type cursor struct {
	rest []byte
	bad  bool
}

func (r record) body() *cursor { return &cursor{rest: r[bodyAt:]} }

func (c *cursor) take(n uint64) []byte {
	if c.bad = c.bad || n > uint64(len(c.rest)); c.bad {
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) number() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) time() time.Duration { return time.Duration(c.number()) }

func (c *cursor) text() string { return string(c.bytes()) }

func (c *cursor) bytes() []byte {
	length, n := binary.Uvarint(c.rest)
	if c.bad = c.bad || n <= 0; c.bad {
		return nil
	}
	c.rest = c.rest[n:]
	return c.take(length)
}

func (c *cursor) key() (k Key) {
	copy(k.ID[:], c.take(uint64(len(k.ID))))
	k.Attempt = c.number()
	k.Tier = tierOf(c.bytes())
	return k
}

// tierOf needs no memory for the tiers that there are.
func tierOf(name []byte) payload.Tier {
	for _, tier := range payload.Tiers() {
		if string(name) == string(tier) {
			return tier
		}
	}
	return payload.Tier(name)
}

// lease reads a grant's body; its number comes first.
func (c *cursor) lease() *lease {
	l := &lease{number: c.number(), until: c.time(), since: c.time()}
	l.asked.Duration = c.time()
	l.asked.Key = c.key()
	l.asked.Session, l.asked.Holder, l.asked.Request = c.text(), c.text(), c.text()
	return l
}

// claim reads the part of a grant's body that says which lease it is.
func (c *cursor) claim() (number uint64, until time.Duration, k Key) {
	number, until = c.number(), c.time()
	c.take(2 * 8) // since and duration
	return number, until, c.key()
}
