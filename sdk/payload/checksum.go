package payload

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A Checksum is the CRC32C (Castagnoli, RFC 3720 appendix B.4) of a payload's
// bytes. Its zero value means that none is known yet, which differs from the
// known checksum 0.
type Checksum struct {
	crc   uint32
	known bool
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum returns the checksum of bytes that are all in hand.
func Sum(bytes []byte) Checksum { return CRC32C(crc32.Checksum(bytes, castagnoli)) }

// CRC32C is the checksum with this value.
func CRC32C(value uint32) Checksum { return Checksum{crc: value, known: true} }

// Known reports whether there is a checksum to compare with.
func (c Checksum) Known() bool { return c.known }

// Value is the CRC32C, and 0 when none is known.
func (c Checksum) Value() uint32 { return c.crc }

// Then is the checksum of c's bytes followed by length more bytes whose
// checksum is next, so that pieces can be summed in parallel. Both must be
// known. The cost is logarithmic in length.
func (c Checksum) Then(next Checksum, length int64) Checksum {
	return CRC32C(combine(c.crc, next.crc, length))
}

// String writes "crc32c:" and eight hexadecimal digits, or nothing when no
// checksum is known.
func (c Checksum) String() string {
	if !c.known {
		return ""
	}
	return fmt.Sprintf("crc32c:%08x", c.crc)
}

// ParseChecksum is the inverse of String. Its error has code [Invalid].
func ParseChecksum(text string) (Checksum, error) {
	if text == "" {
		return Checksum{}, nil
	}
	digits, ok := strings.CutPrefix(text, "crc32c:")
	value, err := strconv.ParseUint(digits, 16, 32)
	if !ok || err != nil || len(digits) != 8 {
		return Checksum{}, Errorf(Invalid, "a checksum is written as crc32c: and eight hexadecimal digits")
	}
	return CRC32C(uint32(value)), nil
}

// MarshalText writes what String does.
func (c Checksum) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *Checksum) UnmarshalText(text []byte) (err error) {
	*c, err = ParseChecksum(string(text))
	return err
}

// combine advances a over length zero bytes by squaring the one-bit shift
// operator of the polynomial, then adds b: the method of zlib's
// crc32_combine (Mark Adler), over the reflected Castagnoli polynomial.
func combine(a, b uint32, length int64) uint32 {
	power := shiftByOneBit().squared().squared().squared() // one byte
	for ; length > 0; length >>= 1 {
		if length&1 == 1 {
			a = power.apply(a)
		}
		power = power.squared()
	}
	return a ^ b
}

// A shift is a 32×32 matrix over GF(2), by columns.
type shift [32]uint32

func shiftByOneBit() *shift {
	s := shift{0: crc32.Castagnoli}
	for i := 1; i < 32; i++ {
		s[i] = 1 << (i - 1)
	}
	return &s
}

func (s *shift) apply(v uint32) (sum uint32) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 == 1 {
			sum ^= s[i]
		}
	}
	return sum
}

func (s *shift) squared() *shift {
	var square shift
	for i, column := range s {
		square[i] = s.apply(column)
	}
	return &square
}
