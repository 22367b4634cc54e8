package facade

import (
	"context"
	"sync"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// A session is what one client process holds. It ends when that process is
// dead, or when the client says that it is done: never because a stream broke,
// which says nothing about who still reads. A process that is stopped cannot
// even answer a ping, and keeps its leases until they expire.
type session struct {
	id   string
	peer *peer           // who began it, or was the first to come back to it
	ctx  context.Context // ends with the session
	end  context.CancelFunc

	// Of its sessions, under their lock.
	uses   int // streams and calls under way
	idle   int // how often it had none
	ended  bool
	forget *time.Timer // set while it has none
}

// name is what leases and allocations know a session by; none has no name.
func (s *session) name() string {
	if s == nil {
		return ""
	}
	return s.id
}

// remembered is how long a session is known that no stream and no call belongs
// to: as long as the longest lease. By then each of its leases has run out or
// was renewed by a call, and such a lease loses no more than that the death of
// its holder is noticed at its deadline.
const remembered = payload.MaxLease

// sessions knows which sessions there are, and whose.
type sessions struct {
	host     *placement.Host
	remember time.Duration
	deaths   *deaths // nil: none can be noticed

	mu     sync.Mutex
	known  map[string]*session
	closed bool
}

func newSessions(host *placement.Host, remember time.Duration) *sessions {
	if remember == 0 {
		remember = remembered
	}
	return &sessions{host: host, remember: remember, known: map[string]*session{}}
}

// begin makes a session. Whoever begins or joins one must leave it.
func (s *sessions) begin(p *peer) (*session, error) { return s.enter(s.host.NewSession(p.owner()), p) }

// join returns the session with this id, which may have begun before the daemon
// did. Its error has code Denied where the session is another process's.
func (s *sessions) join(id string, p *peer) (*session, error) {
	if err := s.host.OwnsSession(id, p.owner()); err != nil {
		return nil, err
	}
	return s.enter(id, p)
}

// enter counts one more stream or call. The dead enter nothing: a call of
// theirs that is still on its way would leave something behind.
func (s *sessions) enter(id string, p *peer) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.dead {
		return nil, payload.Errorf(payload.Denied, "the process that connected is gone")
	}
	one := s.known[id]
	if one == nil {
		one = &session{id: id, peer: p}
		one.ctx, one.end = context.WithCancel(context.Background())
		s.known[id] = one
		s.deaths.retain(p)
		p.holds[one] = true
	}
	one.uses++
	if one.forget != nil {
		one.forget.Stop()
		one.forget = nil
	}
	return one, nil
}

// leave undoes one begin or join. What a call brought into a session that ended
// meanwhile ends here.
func (s *sessions) leave(one *session) {
	if one == nil {
		return
	}
	s.mu.Lock()
	one.uses--
	late := one.ended
	if one.uses == 0 && !late && !s.closed {
		one.idle++
		idle := one.idle
		one.forget = time.AfterFunc(s.remember, func() { s.drop(one, idle) })
	}
	s.mu.Unlock()
	if late {
		s.host.EndSession(one.id)
	}
}

// drop forgets a session that has been idle since then. It ends nothing.
func (s *sessions) drop(one *session, idle int) {
	s.mu.Lock()
	dropped := one.uses == 0 && one.idle == idle && s.remove(one)
	s.mu.Unlock()
	if dropped {
		s.deaths.release(one.peer)
	}
}

// remove takes a session out, once.
func (s *sessions) remove(one *session) bool {
	if s.known[one.id] != one {
		return false
	}
	delete(s.known, one.id)
	delete(one.peer.holds, one)
	if one.forget != nil {
		one.forget.Stop()
	}
	one.end()
	return true
}

// finish ends a session and what it holds. Its streams end, too.
func (s *sessions) finish(one *session) {
	s.mu.Lock()
	removed := s.remove(one)
	one.ended = one.ended || removed
	s.mu.Unlock()
	if removed {
		s.host.EndSession(one.id)
		s.deaths.release(one.peer)
	}
}

// bury ends every session of a process that died, and then its connection,
// which a child that inherited it would keep open.
func (s *sessions) bury(p *peer) {
	s.mu.Lock()
	p.dead = true
	var held []*session
	for one := range p.holds {
		held = append(held, one)
	}
	s.mu.Unlock()
	for _, one := range held {
		s.finish(one)
	}
	p.hang()
}

// close forgets all sessions and ends none: the daemon may be back soon.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	var all []*session
	for _, one := range s.known {
		if s.remove(one) {
			all = append(all, one)
		}
	}
	s.mu.Unlock()
	for _, one := range all {
		s.deaths.release(one.peer)
	}
}
