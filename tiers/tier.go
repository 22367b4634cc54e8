// Package tiers holds the bytes of payloads. A [Tier] keeps them on one kind of
// storage; a [Set] is the tiers one host can reach, and copies between them.
//
// Bytes pass through here only when a payload changes tier, or when a daemon
// verifies a checksum. Producers and consumers reach them directly, by
// descriptor.
//
// # A location's life
//
//	Create → filled, by a producer or by a copy → Seal → read by many → Remove
//
// Create reserves all the room there is to need, so that filling cannot run out
// of it. Seal proves that every writer let go and makes the bytes immutable and
// as durable as the tier is; only sealed bytes are summed or served.
package tiers

import (
	"context"
	"os"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Tier is one kind of storage as seen from one host. Its methods may be
// called concurrently. It never reads the catalog: it believes the location
// that it is given, and a location is only ever one that its Create or Walk
// returned. The folders below hold one Tier each; all pass tiertest.
type Tier interface {
	// Name says which tier this is.
	Name() payload.Tier

	// Create reserves size bytes for one attempt at a placement of id and
	// returns their location. Creating the same attempt twice gives the same
	// location. Codes: Exhausted with reason TIER_FULL when there is no room,
	// Unavailable when the storage cannot be reached. The methods below answer
	// NotFound for a location that does not exist, or does no more.
	Create(ctx context.Context, id payload.ID, attempt uint64, size int64) (location string, err error)

	// Fill opens a location that is not sealed for the daemon itself to write.
	Fill(ctx context.Context, location string) (Target, error)

	// Seal makes the bytes immutable, and durable where the tier is. Sealing
	// twice is sealing once. Codes: Busy with reason STILL_MAPPED while a writer
	// holds the bytes, Invalid when fewer bytes than were reserved arrived.
	Seal(ctx context.Context, location string) error

	// Open reads sealed bytes. Code Conflict when they are not sealed yet, as
	// with Readable and PresignRead below; Fill, Writable and PresignParts have
	// it the other way round.
	Open(ctx context.Context, location string) (Source, error)

	// Remove frees the bytes, sealed or not. What readers still hold open stays
	// readable for them and counts as used until they close it. Removing what is
	// not there does nothing.
	Remove(ctx context.Context, location string) error

	// Walk reports every location that holds bytes, in no order, until visit
	// fails. One that is sealed meanwhile may come twice, but none is left out.
	Walk(ctx context.Context, visit func(Found) error) error

	// Usage says how full the tier is.
	Usage(ctx context.Context) (Usage, error)

	// Close lets go of everything the tier holds in this process. The bytes of
	// durable tiers stay.
	Close() error
}

// Found is one location as Walk came upon it.
type Found struct {
	Location string
	ID       payload.ID
	Attempt  uint64
	Size     int64
	Sealed   bool
}

// Usage is in bytes. Capacity 0 means that no limit was set.
type Usage struct {
	Capacity int64
	Used     int64 // reserved, filled, sealed, or removed but still held by readers
}

// A Source reads sealed bytes. Reads may run in parallel.
type Source interface {
	// ReadAt fills p from the offset, or says why it could not.
	ReadAt(ctx context.Context, p []byte, offset int64) error
	Size() int64
	Close() error
}

// A Target is written by the daemon, in pieces as Pieces cuts them, in any
// order and in parallel. Nothing is durable before Seal.
type Target interface {
	// WriteAt writes all of p at the offset.
	WriteAt(ctx context.Context, p []byte, offset int64) error
	Close() error
}

// Mapped is what a Source or Target also is whose bytes lie in this process's
// memory. The slice is valid until Close; that of a Source must not be written.
type Mapped interface {
	Bytes() []byte
}

// Summed is what a Source also is whose storage computed and keeps a checksum
// of its own over the whole: reading the bytes back would tell no more.
type Summed interface {
	Checksum() payload.Checksum
}

// A Filer is a Tier whose bytes a client reaches through a file descriptor.
type Filer interface {
	// Writable opens what Create reserved, for its producer to write or map.
	Writable(ctx context.Context, location string) (*os.File, error)

	// Readable opens sealed bytes for one reader: a description of its own, read
	// only, that cannot be turned into a writable one. It carries a shared
	// open-file-description lock, by which the tier knows when the reader and
	// all its duplicates and mappings are gone.
	Readable(ctx context.Context, location string) (*os.File, error)
}

// A Presigner is a Tier whose bytes a client reaches over HTTP.
type Presigner interface {
	// PresignRead returns a URL that serves ranges of the sealed bytes until the
	// duration is over.
	PresignRead(ctx context.Context, location string, valid time.Duration) (string, error)

	// PresignParts returns a URL per piece of an unsealed location of this size.
	// A PUT of the piece's bytes stores it; Seal puts the pieces together, and
	// no URL works after that.
	PresignParts(ctx context.Context, location string, size int64, valid time.Duration) ([]Part, error)
}

// A Part is one piece of a payload that its producer uploads by itself.
type Part struct {
	Offset int64
	Size   int64
	URL    string
}

// A Piece is a range of a payload that is copied, summed and uploaded as one.
type Piece struct {
	Offset int64
	Size   int64
}

// Sizes of pieces. S3 takes parts of 5 MiB to 5 GiB, at most 10,000 of them:
// 16 MiB serves payloads up to 156 GiB; beyond, pieces grow in whole MiB.
const (
	PieceSize = 16 << 20
	maxPieces = 10_000
)

// Small is the size up to which bytes are read rather than mapped: mapping and
// unmapping memory costs as much as copying some hundred kilobytes.
const Small = 256 << 10

// Pieces cuts size bytes. All pieces but the last are equally long; a payload
// of no bytes has one piece of none.
func Pieces(size int64) []Piece {
	step := PieceSizeFor(size)
	pieces := make([]Piece, 0, size/step+1)
	for offset := int64(0); offset < size || offset == 0; offset += step {
		pieces = append(pieces, Piece{Offset: offset, Size: min(step, size-offset)})
	}
	return pieces
}

// PieceSizeFor is the length of every piece but the last of a payload.
func PieceSizeFor(size int64) int64 {
	const mebibyte = 1 << 20
	least := (size + maxPieces - 1) / maxPieces
	return max(PieceSize, (least+mebibyte-1)/mebibyte*mebibyte)
}
