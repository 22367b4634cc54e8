package vault

import (
	"encoding/binary"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

const version = 1

// The operations.
const (
	opHello byte = iota + 1
	opPut
	opGet
	opRetire
	opForget
	opList
)

// A status begins every answer.
type status byte

const (
	ok status = iota
	missing
	taken
	full
	malformed
	foreign
	unspoken
)

// err is what the daemon is told. Labels and paths stay out of it.
func (s status) err() error {
	switch s {
	case ok:
		return nil
	case missing:
		return payload.Errorf(payload.NotFound, "the vault keeps no such segment")
	case taken:
		return payload.Errorf(payload.AlreadyExists, "the vault keeps another segment of this name")
	case full:
		return payload.Errorf(payload.Exhausted, "the vault may open no more files: raise its LimitNOFILE")
	case foreign:
		return payload.Errorf(payload.Denied, "the vault keeps another daemon's memory: give each data_dir a vault of its own")
	case unspoken:
		return payload.Errorf(payload.Unsupported, "the vault speaks another version: stop its daemon, then restart the vault")
	default:
		return payload.Errorf(payload.Internal, "the vault did not understand the daemon")
	}
}

const (
	maxLabel  = 255
	maxFrame  = 32 << 10 // bytes; well below net.core.wmem_default, 208 KiB
	ownerSize = 16
	nonceSize = 16

	helloSize   = 1 + 2 + ownerSize
	welcomeSize = 1 + 2 + nonceSize
	cursorSize  = 4
	entryHead   = 8 + 1 + 1
)

// Flags of an entry.
const (
	sealedFlag  = 1
	retiredFlag = 2
)

// An Owner is who segments belong to: a daemon across its restarts.
type Owner [ownerSize]byte

func hello(owner Owner) []byte {
	frame := binary.BigEndian.AppendUint16([]byte{opHello}, version)
	return append(frame, owner[:]...)
}

func parseHello(frame []byte) (owner Owner, s status) {
	switch {
	case len(frame) < 3 || frame[0] != opHello:
		return owner, malformed
	case binary.BigEndian.Uint16(frame[1:]) != version:
		return owner, unspoken
	case len(frame) != helloSize:
		return owner, malformed
	}
	copy(owner[:], frame[3:])
	return owner, ok
}

func welcome(s status, nonce [nonceSize]byte) []byte {
	frame := binary.BigEndian.AppendUint16([]byte{byte(s)}, version)
	return append(frame, nonce[:]...)
}

// labelled is a request about one segment.
func labelled(op byte, label string) ([]byte, error) {
	if label == "" || len(label) > maxLabel {
		return nil, payload.Errorf(payload.Invalid, "a label is 1 to %d bytes long, not %d", maxLabel, len(label))
	}
	return append([]byte{op}, label...), nil
}

func list(cursor uint32) []byte { return binary.BigEndian.AppendUint32([]byte{opList}, cursor) }

// An entry is one segment in a listing.
type entry struct {
	label           string
	size            int64
	sealed, retired bool
}

func (e entry) append(page []byte) []byte {
	var flags byte
	if e.sealed {
		flags |= sealedFlag
	}
	if e.retired {
		flags |= retiredFlag
	}
	page = binary.BigEndian.AppendUint64(page, uint64(e.size))
	page = append(page, flags, byte(len(e.label)))
	return append(page, e.label...)
}

// parsePage takes an answer to List apart, after its status.
func parsePage(page []byte) (next uint32, entries []entry, err error) {
	if len(page) < cursorSize {
		return 0, nil, malformed.err()
	}
	next, page = binary.BigEndian.Uint32(page), page[cursorSize:]
	for len(page) > 0 {
		if len(page) < entryHead || len(page) < entryHead+int(page[9]) {
			return 0, nil, malformed.err()
		}
		end := entryHead + int(page[9])
		entries = append(entries, entry{
			label: string(page[entryHead:end]), size: int64(binary.BigEndian.Uint64(page)),
			sealed: page[8]&sealedFlag != 0, retired: page[8]&retiredFlag != 0,
		})
		page = page[end:]
	}
	return next, entries, nil
}
