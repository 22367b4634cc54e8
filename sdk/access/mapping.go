package access

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A File is what came through the data door: a description of its own, which
// tells the daemon that somebody is still there until it, every duplicate and
// every mapping of it are gone.
type File struct {
	file         *os.File
	offset, size int64
	writable     bool
}

// Size is the payload's, in bytes.
func (f *File) Size() int64 { return f.size }

// Writable reports whether the token was a write token.
func (f *File) Writable() bool { return f.writable }

// check refuses a file that ends before the payload does: reading the rest of
// its mapping would kill the process.
func (f *File) check() error {
	info, err := f.file.Stat()
	if err != nil || f.offset < 0 || f.size < 0 || f.offset > info.Size()-f.size {
		return payload.Errorf(payload.Corrupt, "fewer bytes came than the payload has")
	}
	return nil
}

// Map maps the payload, and closes the file whether or not it could. Mapping
// touches none of its pages, however large it is.
func (f *File) Map() (*Mapping, error) {
	defer f.file.Close()
	protection := unix.PROT_READ
	if f.writable {
		protection |= unix.PROT_WRITE
	}
	lead := int(f.offset % int64(os.Getpagesize()))
	m, err := mapped(int(f.file.Fd()), f.offset-int64(lead), lead, f.size, protection, unix.MAP_SHARED)
	return m, payload.Wrap("map", payload.ID{}, err)
}

// Close closes the file without mapping it.
func (f *File) Close() error { return f.file.Close() }

// A Mapping is a payload's bytes in this process's memory.
type Mapping struct {
	mu       sync.RWMutex // held for reading while bytes are copied
	whole    []byte       // as the kernel mapped it; nil for no bytes, and after Close
	bytes    []byte       // nil after Close
	writable bool
}

// memory is anonymous memory that the garbage collector does not know of. Its
// pages come when they are first written.
func memory(size int64) (*Mapping, error) {
	return mapped(-1, 0, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

func mapped(fd int, offset int64, lead int, size int64, protection, flags int) (*Mapping, error) {
	m := &Mapping{bytes: []byte{}, writable: protection&unix.PROT_WRITE != 0}
	if size == 0 {
		return m, nil // the kernel maps nothing that is empty
	}
	whole, err := unix.Mmap(fd, offset, lead+int(size), protection, flags)
	if errors.Is(err, unix.ENOMEM) {
		return nil, payload.Errorf(payload.Exhausted, "this process has no room to map %d bytes", size)
	}
	if err != nil {
		return nil, payload.Errorf(payload.Internal, "map %d bytes: %w", size, err)
	}
	m.whole, m.bytes = whole, whole[lead:]
	return m, nil
}

// Bytes is the payload itself, not a copy. The slice is valid until Close and
// must not be touched afterwards; a readable mapping's must not be written,
// which the kernel enforces by ending the process. After Close it is nil.
func (m *Mapping) Bytes() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.bytes
}

// Size is the payload's, in bytes, and 0 after Close.
func (m *Mapping) Size() int64 { return int64(len(m.Bytes())) }

// ReadAt copies from the offset, as io.ReaderAt says.
func (m *Mapping) ReadAt(p []byte, offset int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch {
	case m.bytes == nil:
		return 0, os.ErrClosed
	case offset < 0:
		return 0, negative()
	case offset >= int64(len(m.bytes)):
		return 0, io.EOF
	}
	n := copy(p, m.bytes[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt copies to the offset. What does not fit is refused whole, with code
// Invalid.
func (m *Mapping) WriteAt(p []byte, offset int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch {
	case m.bytes == nil:
		return 0, os.ErrClosed
	case !m.writable:
		return 0, payload.Errorf(payload.Denied, "a committed payload cannot be written")
	case offset < 0:
		return 0, negative()
	case offset > int64(len(m.bytes))-int64(len(p)):
		return 0, payload.Errorf(payload.Invalid, "%d bytes at %d are beyond the payload's %d", len(p), offset, len(m.bytes))
	}
	return copy(m.bytes[offset:], p), nil
}

// Close unmaps the bytes, after the copies that are under way. Closing twice is
// closing once.
func (m *Mapping) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	whole := m.whole
	m.whole, m.bytes = nil, nil
	if whole == nil {
		return nil
	}
	return payload.Wrap("unmap", payload.ID{}, unix.Munmap(whole))
}

func negative() error { return payload.Errorf(payload.Invalid, "an offset is not negative") }
