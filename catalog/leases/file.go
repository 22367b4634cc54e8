package leases

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A file begins with a header, which never changes:
//
//	magic    8
//	version  4
//	crc      4   CRC32C of what follows it, to the header's end
//	nonce    8   of the table's lease ids
//	last     8   number of the last lease whose grant may be missing in the file
//	boot id  96  padded with zeros
const (
	magic      = "PMLEASES"
	version    = 1
	headerSize = 128
	bootIDAt   = 32
)

type header struct {
	nonce  [8]byte
	last   uint64
	bootID string
}

func newHeader(bootID string) header {
	h := header{bootID: bootID}
	rand.Read(h.nonce[:]) // never fails: crypto/rand ends the process instead
	return h
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	copy(b[16:], h.nonce[:])
	binary.LittleEndian.PutUint64(b[24:], h.last)
	copy(b[bootIDAt:], h.bootID)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

func decodeHeader(b []byte) (header, error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return header{}, payload.Errorf(payload.Corrupt, "the lease journal is not one, or its beginning is damaged: remove it once nobody reads payloads of this host any more")
	}
	if got := binary.LittleEndian.Uint32(b[8:]); got != version {
		return header{}, payload.Errorf(payload.Unsupported, "the lease journal has format %d and this daemon knows format %d: start the daemon that wrote it, or remove it once nobody reads payloads of this host any more", got, version)
	}
	b = b[:headerSize]
	if binary.LittleEndian.Uint32(b[12:]) != crc32.Checksum(b[16:], castagnoli) {
		return header{}, payload.Errorf(payload.Corrupt, "the lease journal's header is damaged: remove it once nobody reads payloads of this host any more")
	}
	h := header{last: binary.LittleEndian.Uint64(b[24:]), bootID: string(bytes.TrimRight(b[bootIDAt:], "\x00"))}
	copy(h.nonce[:], b[16:])
	return h, nil
}

// reach is how long a file can become: address space, not memory. At some 120
// bytes a lease, and half of it garbage, it is four million leases.
const reach = 1 << 30

// stride is by how much a file grows, and how much room is kept ahead: some nine
// thousand leases, so that few wait for a disk that is busy for a tenth of a
// second.
const stride = 1 << 20

// A file is one journal on disk, seen through a mapping that reaches beyond its
// end, so that it grows without being mapped again. Blocks are allocated before
// their pages are touched: a full disk is an error and never a SIGBUS. The
// mapping is the page cache, which outlives the process.
type file struct {
	header
	disk *os.File
	data []byte // len reach; only data[:size] may be touched
	size int    // allocated. Under the table's mutex once the table uses the file
	tail int    // where the next record goes. Likewise
}

// createFile makes a file with nothing but a header, which is on the disk
// itself when it returns: whatever happens to the rest, at the next start the
// header says whether the rest is still of interest. What had the name before is
// unlinked and never shortened: to write to a mapping of it would be fatal.
func createFile(path string, h header) (*file, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unnamed(err)
	}
	disk, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, unnamed(err)
	}
	_, err = disk.Write(h.encode())
	if err == nil {
		err = disk.Sync()
	}
	if err != nil {
		return nil, errors.Join(unnamed(err), disk.Close())
	}
	return mapFile(disk, h, headerSize)
}

// openFile maps what an earlier table wrote. Its error is fs.ErrNotExist where
// there is nothing.
func openFile(path string) (*file, error) {
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, unnamed(err)
	}
	b := make([]byte, headerSize)
	n, err := disk.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	h, bad := decodeHeader(b[:n])
	end, err2 := disk.Seek(0, io.SeekEnd)
	if err := errors.Join(unnamed(err), bad, unnamed(err2)); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return mapFile(disk, h, int(end))
}

func mapFile(disk *os.File, h header, size int) (*file, error) {
	if size > reach {
		return nil, errors.Join(payload.Errorf(payload.Corrupt, "the lease journal is longer than one can be"), disk.Close())
	}
	data, err := unix.Mmap(int(disk.Fd()), 0, reach, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(payload.Errorf(payload.Unavailable, "the lease journal cannot be mapped: %w", err), disk.Close())
	}
	return &file{header: h, disk: disk, data: data, size: size, tail: headerSize}, nil
}

func (f *file) room() int { return f.size - f.tail }

// append must find room.
func (f *file) append(records []byte) {
	copy(f.data[f.tail:f.size], records)
	f.tail += len(records)
}

// cut drops everything from the tail on: what follows a torn record must never
// be taken for what follows the next one written there.
func (f *file) cut() error {
	if err := f.disk.Truncate(int64(f.tail)); err != nil {
		return unnamed(err)
	}
	f.size = f.tail
	return nil
}

// extend allocates up to the next stride, and brings the new pages into memory,
// so that whoever writes there does not wait for them. It returns the new size
// and leaves it to its caller to set it.
func (f *file) extend(allocate allocator) (size int, err error) {
	size = (f.size/stride + 1) * stride
	if size > reach {
		return f.size, unix.EFBIG
	}
	if err := allocate(f.disk, int64(f.size), int64(size-f.size)); err != nil {
		return f.size, err
	}
	from := f.size &^ (os.Getpagesize() - 1)
	unix.Madvise(f.data[from:size], unix.MADV_POPULATE_WRITE) // from Linux 5.14; without it pages come one by one
	return size, nil
}

// close gives the mapping up. The file stays.
func (f *file) close() error {
	return errors.Join(unix.Munmap(f.data), unnamed(f.disk.Close()))
}

// An allocator sets blocks of a file aside.
type allocator = func(f *os.File, offset, size int64) error

func fallocate(f *os.File, offset, size int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), 0, offset, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unnamed takes the path out of an error.
func unnamed(err error) error {
	if known, ok := errors.AsType[*os.PathError](err); ok {
		return known.Err
	}
	if known, ok := errors.AsType[*os.LinkError](err); ok {
		return known.Err
	}
	return err
}
