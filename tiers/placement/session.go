package placement

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"sync"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A session's id is 128 random bits and a MAC of the host's over them and its
// owner, in base32. Nobody guesses one, and a daemon that has just started and
// remembers nobody can still tell whose it is.
var sessionText = base32.StdEncoding.WithPadding(base32.NoPadding)

const (
	sessionKind   = 3 // of token
	sessionRandom = 16
	// SessionIDLength is how many letters a session's id has: five bits each.
	SessionIDLength = ((sessionRandom+macSize)*8 + 4) / 5
)

// NewSession names a new session of owner: whatever bytes the caller knows a
// client by.
func (h *Host) NewSession(owner []byte) string {
	var random [sessionRandom]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return h.sessionID(random[:], owner)
}

// OwnsSession says whether id names a session of owner's, begun on this host
// before or after it last started. Its error has code Denied.
func (h *Host) OwnsSession(id string, owner []byte) error {
	raw, err := sessionText.DecodeString(id)
	if err == nil && len(raw) == sessionRandom+macSize {
		if subtle.ConstantTimeCompare([]byte(id), []byte(h.sessionID(raw[:sessionRandom], owner))) == 1 {
			return nil
		}
	}
	return payload.Errorf(payload.Denied, "the session is not this process's: begin one of its own")
}

func (h *Host) sessionID(random, owner []byte) string {
	body := append(append([]byte{sessionKind}, random...), owner...)
	mac := h.signer.sign(body)[len(body):]
	return sessionText.EncodeToString(append(bytes.Clone(random), mac...))
}

// EndSession ends every lease of a session before it returns, and behind it
// aborts the allocations that the session left uncommitted. What cannot be
// aborted now ends at its own deadline. A call under way for the session may
// leave something behind it: end the session again when the call is over.
func (h *Host) EndSession(session string) {
	h.leases.EndSession(session)
	left := h.owned.take(session)
	if len(left) == 0 {
		return
	}
	h.behind(func(ctx context.Context) {
		for _, id := range left {
			h.abandon(ctx, id)
		}
	})
}

// abandon aborts what its producer will not commit any more. That it was
// committed or ended meanwhile is no failure.
func (h *Host) abandon(ctx context.Context, id payload.ID) {
	_, err := h.Abort(ctx, catalog.Change{ID: id})
	switch payload.CodeOf(err) {
	case "", payload.Conflict, payload.NotFound, payload.Expired:
	default:
		h.log.Warn("an allocation whose session ended could not be aborted; its deadline will do it", "payload", id, "error", err)
	}
}

// own ties an allocation to the session that it was made in, for as long as it
// is not committed.
func (h *Host) own(session string, id payload.ID) {
	if session == "" {
		return
	}
	stripe := h.records.stripe(id)
	stripe.Lock()
	defer stripe.Unlock()
	if p, known := h.records.get(id); known && p.State == payload.StateAllocated {
		h.owned.add(session, id)
	}
}

// owned is which session each uncommitted allocation belongs to. It is memory
// alone: after a restart of the daemon, allocations end at their deadlines.
type owned struct {
	mu        sync.Mutex
	bySession map[string]map[payload.ID]bool
	owner     map[payload.ID]string
}

func (o *owned) init() {
	o.bySession = map[string]map[payload.ID]bool{}
	o.owner = map[payload.ID]string{}
}

// add makes the session the allocation's owner, whoever was it before.
func (o *owned) add(session string, id payload.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(id)
	if o.bySession[session] == nil {
		o.bySession[session] = map[payload.ID]bool{}
	}
	o.bySession[session][id] = true
	o.owner[id] = session
}

// release lets go of an allocation that is none any more.
func (o *owned) release(id payload.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(id)
}

func (o *owned) drop(id payload.ID) {
	session, known := o.owner[id]
	if !known {
		return
	}
	delete(o.owner, id)
	delete(o.bySession[session], id)
	if len(o.bySession[session]) == 0 {
		delete(o.bySession, session)
	}
}

// take returns what the session owns, and lets go of it.
func (o *owned) take(session string) []payload.ID {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make([]payload.ID, 0, len(o.bySession[session]))
	for id := range o.bySession[session] {
		ids = append(ids, id)
		delete(o.owner, id)
	}
	delete(o.bySession, session)
	return ids
}
