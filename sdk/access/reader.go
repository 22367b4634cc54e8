package access

import (
	"context"
	"io"
	"sync"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Reader reads one placement, wherever it is. It is safe for concurrent use.
// [Mapping.Reader] and [Storage.Reader] make one each.
type Reader interface {
	// Bytes is the whole payload, verified when it is first asked for. The
	// slice is valid until Close. Codes: Corrupt, Exhausted, and those of the
	// storage for what is not on this host.
	Bytes(ctx context.Context) ([]byte, error)

	// ReadAt copies a range, which is not verified.
	io.ReaderAt

	// Size is the payload's, in bytes.
	Size() int64

	// Close lets go of the bytes. Closing twice is closing once.
	Close() error
}

// Reader reads the mapping. Its Bytes compare with want; where want is not
// known nothing is verified, as befits sealed memory.
func (m *Mapping) Reader(want payload.Checksum) Reader { return &local{Mapping: m, want: want} }

type local struct {
	*Mapping
	want payload.Checksum

	once sync.Once
	err  error // of the one verification
}

func (l *local) Bytes(context.Context) ([]byte, error) {
	bytes := l.Mapping.Bytes()
	if bytes == nil {
		return nil, closed()
	}
	l.once.Do(func() { l.err = l.verify() })
	if l.err != nil {
		return nil, l.err
	}
	return bytes, nil
}

// verify keeps Close from unmapping what it sums.
func (l *local) verify() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.bytes == nil {
		return closed()
	}
	return payload.Wrap("verify", payload.ID{}, verify(l.bytes, l.want))
}

func closed() error { return payload.Errorf(payload.Invalid, "the reader is closed") }
