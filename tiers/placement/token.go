package placement

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A token is a kind, a body and a MAC over both: HMAC-SHA256 (RFC 2104) under
// the host's key, cut to 128 bits as RFC 2104 section 5 permits. So a token is
// never stored, is valid across a restart, and comes out the same again for the
// same thing.
//
//	write: kind 1, payload id (16 bytes), attempt (8, big endian), MAC (16)
//	read:  kind 2, lease id (1 to 64 bytes), MAC (16)
const (
	writeKind = 1
	readKind  = 2
	macSize   = 16
)

type signer struct{ macs sync.Pool }

func newSigner(key []byte) *signer {
	return &signer{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

func (s *signer) sign(body []byte) payload.Token {
	mac := s.macs.Get().(hash.Hash)
	defer s.macs.Put(mac)
	mac.Reset()
	mac.Write(body)
	var sum [sha256.Size]byte
	return append(body, mac.Sum(sum[:0])[:macSize]...)
}

// open returns a token's kind and body. Its error has code Denied.
func (s *signer) open(token payload.Token) (kind byte, body []byte, err error) {
	cut := len(token) - macSize
	if cut < 1 || cut > 128 {
		return 0, nil, errForged
	}
	signed := s.sign(append(make([]byte, 0, len(token)), token[:cut]...))
	if !hmac.Equal(signed, token) {
		return 0, nil, errForged
	}
	return token[0], token[1:cut], nil
}

var errForged = payload.Errorf(payload.Denied, "the token is not one of this host's")

func (s *signer) write(id payload.ID, attempt uint64) payload.Token {
	body := append(make([]byte, 0, 1+len(id)+8+macSize), writeKind)
	body = append(body, id[:]...)
	return s.sign(binary.BigEndian.AppendUint64(body, attempt))
}

func (s *signer) read(lease string) payload.Token {
	body := append(make([]byte, 0, 1+len(lease)+macSize), readKind)
	return s.sign(append(body, lease...))
}

// lease returns the lease id that a read token stands for.
func (s *signer) lease(token payload.Token) (string, error) {
	kind, body, err := s.open(token)
	if err != nil || kind != readKind {
		return "", errForged
	}
	return string(body), nil
}

// allocation takes the body of a write token apart.
func allocation(body []byte) (id payload.ID, attempt uint64, err error) {
	if len(body) != len(id)+8 {
		return id, 0, errForged
	}
	copy(id[:], body)
	return id, binary.BigEndian.Uint64(body[len(id):]), nil
}
