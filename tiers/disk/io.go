package disk

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Direct I/O takes aligned memory, offsets and lengths only. A page serves
// every block size in use.
const page = 4096

// stride is how much one system call moves: enough to keep a disk busy, little
// enough to be interrupted between two.
const stride = 4 << 20

// A stream reads or writes one file: past the page cache where it can, straight
// between the disk and the caller's memory, and through it otherwise.
type stream struct {
	size   int64
	plain  *os.File
	direct *os.File    // nil where the file system refuses
	refuse atomic.Bool // direct I/O turned out not to work after all
}

// Fill implements [tiers.Tier].
func (t *Tier) Fill(_ context.Context, location string) (tiers.Target, error) {
	e, err := t.find(location)
	if err != nil {
		return nil, err
	}
	s, err := newStream(e, func(flag int) (*os.File, error) { return e.writable(t.files, flag) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Open implements [tiers.Tier].
func (t *Tier) Open(_ context.Context, location string) (tiers.Source, error) {
	e, err := t.find(location)
	if err != nil {
		return nil, err
	}
	s, err := newStream(e, func(flag int) (*os.File, error) { return e.readable(t.files, flag) })
	if err != nil {
		return nil, err
	}
	if err := whole(s.plain, s.size); err != nil {
		s.Close()
		return nil, payload.Errorf(payload.Corrupt, "the file was cut: %w", err)
	}
	return s, nil
}

func newStream(e *entry, open func(flag int) (*os.File, error)) (*stream, error) {
	plain, err := open(0)
	if err != nil {
		return nil, err
	}
	direct, err := open(unix.O_DIRECT)
	if err != nil {
		direct = nil // refused: the page cache serves
	}
	return &stream{size: e.label.Size, plain: plain, direct: direct}, nil
}

// Size implements [tiers.Source].
func (s *stream) Size() int64 { return s.size }

// ReadAt implements [tiers.Source]. What is in the page cache is taken from
// there.
func (s *stream) ReadAt(ctx context.Context, p []byte, offset int64) error {
	return s.each(ctx, p, offset, "read from the disk", func(p []byte, offset int64) (int, error) {
		if s.straight(p, offset) && !cached(s.plain, offset, int64(len(p))) {
			return s.once(unix.Pread, s.direct, p, offset)
		}
		return s.once(unix.Pread, s.plain, p, offset)
	})
}

// WriteAt implements [tiers.Target].
func (s *stream) WriteAt(ctx context.Context, p []byte, offset int64) error {
	return s.each(ctx, p, offset, "write to the disk", func(p []byte, offset int64) (int, error) {
		if s.straight(p, offset) {
			return s.once(unix.Pwrite, s.direct, p, offset)
		}
		return s.once(unix.Pwrite, s.plain, p, offset)
	})
}

// Close implements [tiers.Source] and [tiers.Target].
func (s *stream) Close() error {
	err := s.plain.Close()
	if s.direct != nil {
		err = errors.Join(err, s.direct.Close())
	}
	return tiers.Fault("close a file", err)
}

// each moves p in strides, of which the last is cut where alignment ends.
func (s *stream) each(ctx context.Context, p []byte, offset int64, doing string, move func([]byte, int64) (int, error)) error {
	if err := tiers.Outside(offset, len(p), s.size); err != nil {
		return err
	}
	for len(p) > 0 {
		if err := tiers.Interrupted(ctx); err != nil {
			return err
		}
		n, err := move(p[:cut(len(p))], offset)
		if err != nil {
			return tiers.Fault(doing, err)
		}
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}

// cut is the length of the next step of length bytes: a stride, else whole
// pages, else the rest.
func cut(length int) int {
	if length < page {
		return length
	}
	return min(stride, length/page*page)
}

// straight reports whether direct I/O can move p.
func (s *stream) straight(p []byte, offset int64) bool {
	address := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return s.direct != nil && !s.refuse.Load() && (uint64(address)|uint64(offset)|uint64(len(p)))%page == 0
}

// once makes one system call. A device may want a coarser alignment than ours:
// then the page cache serves from here on. The file ending early is an error.
func (s *stream) once(call func(int, []byte, int64) (int, error), file *os.File, p []byte, offset int64) (int, error) {
	n, err := call(int(file.Fd()), p, offset)
	if errors.Is(err, unix.EINVAL) && file == s.direct {
		s.refuse.Store(true)
		n, err = call(int(s.plain.Fd()), p, offset)
	}
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err == nil && n == 0 {
		return 0, payload.Errorf(payload.Corrupt, "the file ends before its payload does")
	}
	return n, err
}

// cached reports whether most of the range is in the page cache, from where it
// comes faster than from the disk. Kernels before 6.5 cannot tell.
func cached(file *os.File, offset, length int64) bool {
	var stat unix.Cachestat_t
	span := unix.CachestatRange{Off: uint64(offset), Len: uint64(length)}
	err := unix.Cachestat(uint(file.Fd()), &span, &stat, 0)
	return err == nil && stat.Cache*page > uint64(length)/2
}
