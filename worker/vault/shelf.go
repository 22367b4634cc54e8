package vault

import (
	"encoding/binary"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// A shelf is what a vault keeps. It is used by one daemon's connection at a
// time, and needs no lock of its own.
type shelf struct {
	most    int // descriptors
	kept    map[string]*segment
	listing []string // the labels of the listing under way
}

type segment struct {
	fd      int
	retired bool
}

func newShelf(most int) *shelf { return &shelf{most: most, kept: make(map[string]*segment)} }

// put takes fd over, whatever comes of it.
func (s *shelf) put(label string, fd int) status {
	old, known := s.kept[label]
	switch {
	case known && sameFile(old.fd, fd):
		_ = unix.Close(fd)
		return ok
	case known:
		_ = unix.Close(fd)
		return taken
	case len(s.kept) >= s.most:
		_ = unix.Close(fd)
		return full
	}
	s.kept[label] = &segment{fd: fd}
	return ok
}

func sameFile(a, b int) bool {
	var first, second unix.Stat_t
	return unix.Fstat(a, &first) == nil && unix.Fstat(b, &second) == nil &&
		first.Dev == second.Dev && first.Ino == second.Ino
}

// get returns a descriptor that stays the shelf's.
func (s *shelf) get(label string) (fd int, st status) {
	if found, known := s.kept[label]; known {
		return found.fd, ok
	}
	return -1, missing
}

func (s *shelf) retire(label string) status {
	if found, known := s.kept[label]; known {
		found.retired = true
	}
	return ok
}

// forget frees the memory if this was its last descriptor. The daemon keeps one
// of its own until it was answered, so that the time that takes is its own.
func (s *shelf) forget(label string) status {
	if found, known := s.kept[label]; known {
		delete(s.kept, label)
		_ = unix.Close(found.fd) // a memfd has nothing to write back
	}
	return ok
}

// page appends the next cursor and the entries from the cursor on, as many as a
// frame holds. What was forgotten since the listing began is left out.
func (s *shelf) page(answer []byte, cursor uint32) ([]byte, status) {
	if cursor == 0 {
		s.listing = slices.Collect(maps.Keys(s.kept))
	}
	if uint64(cursor) > uint64(len(s.listing)) {
		return answer, malformed
	}
	at := int(cursor)
	head := len(answer)
	answer = append(answer, 0, 0, 0, 0)
	for ; at < len(s.listing) && len(answer)+entryHead+maxLabel <= maxFrame; at++ {
		if found, known := s.kept[s.listing[at]]; known {
			answer = found.entry(s.listing[at]).append(answer)
		}
	}
	if at == len(s.listing) {
		at, s.listing = 0, nil
	}
	binary.BigEndian.PutUint32(answer[head:], uint32(at))
	return answer, ok
}

// entry asks the kernel: the size and the seals are the file's own.
func (g *segment) entry(label string) entry {
	var stat unix.Stat_t
	_ = unix.Fstat(g.fd, &stat) // of an open descriptor, which cannot fail
	seals, err := unix.FcntlInt(uintptr(g.fd), unix.F_GET_SEALS, 0)
	const both = unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	return entry{label: label, size: stat.Size, sealed: err == nil && seals&both == both, retired: g.retired}
}

func (s *shelf) close() {
	for label := range s.kept {
		s.forget(label)
	}
}
