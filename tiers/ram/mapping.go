package ram

import (
	"context"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/tiers"
)

// A mapping is a segment in this process's address space: a Source, or a
// Target where it was made writable.
type mapping struct {
	bytes []byte
	once  sync.Once
	err   error
}

// mapped is what a mapping is to the tiers' callers.
type mapped interface {
	tiers.Source
	tiers.Target
	tiers.Mapped
}

// mapFile maps the whole file. There is no mapping of no bytes.
func mapFile(file *os.File, protection int) (mapped, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, tiers.Fault("map memory", err)
	}
	if info.Size() == 0 {
		return &mapping{}, nil
	}
	bytes, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), protection, unix.MAP_SHARED)
	if err != nil {
		return nil, tiers.Fault("map memory", err)
	}
	return &mapping{bytes: bytes}, nil
}

// Bytes implements [tiers.Mapped].
func (m *mapping) Bytes() []byte { return m.bytes }

// Size implements [tiers.Source].
func (m *mapping) Size() int64 { return int64(len(m.bytes)) }

// ReadAt implements [tiers.Source].
func (m *mapping) ReadAt(ctx context.Context, p []byte, offset int64) error {
	if err := tiers.Outside(offset, len(p), m.Size()); err != nil {
		return err
	}
	copy(p, m.bytes[offset:])
	return tiers.Interrupted(ctx)
}

// WriteAt implements [tiers.Target].
func (m *mapping) WriteAt(ctx context.Context, p []byte, offset int64) error {
	if err := tiers.Outside(offset, len(p), m.Size()); err != nil {
		return err
	}
	copy(m.bytes[offset:], p)
	return tiers.Interrupted(ctx)
}

// Close unmaps, at once: a writable mapping in its last moments would keep the
// segment from being sealed. It frees no memory, which belongs to the segment.
func (m *mapping) Close() error {
	m.once.Do(func() {
		if m.bytes != nil {
			m.err = tiers.Fault("unmap memory", unix.Munmap(m.bytes))
		}
	})
	return m.err
}
