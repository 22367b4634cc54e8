package door

import (
	"container/list"
	"net"
	"sync"
)

// A lobby is who is inside. It holds so many connections and no more: to let
// one in when it is full, it shows out whoever rested longest, and waits while
// nobody rests.
type lobby struct {
	mu      sync.Mutex
	room    *sync.Cond // on mu: a connection left, or the lobby closed
	limit   int
	inside  map[*net.UnixConn]*list.Element // nil while a connection is busy
	resting *list.List                      // of *net.UnixConn, the longest first
	wanted  int                             // places that somebody waits for
	closed  bool
}

func newLobby(limit int) *lobby {
	l := &lobby{limit: limit, inside: map[*net.UnixConn]*list.Element{}, resting: list.New()}
	l.room = sync.NewCond(&l.mu)
	return l
}

// enter lets a connection in, or reports that the lobby is closed.
func (l *lobby) enter(conn *net.UnixConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.inside) >= l.limit && !l.closed {
		if !l.showOut() {
			l.wanted++
			l.room.Wait()
			l.wanted--
			continue
		}
	}
	if !l.closed {
		l.inside[conn] = nil
	}
	return !l.closed
}

// makeRoom shows one out for its descriptor's sake, where one rests.
func (l *lobby) makeRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.showOut()
}

// showOut closes whoever rested longest; its visit notices and ends. The place
// is free at once.
func (l *lobby) showOut() bool {
	longest := l.resting.Front()
	if longest == nil {
		return false
	}
	l.drop(longest.Value.(*net.UnixConn))
	return true
}

func (l *lobby) drop(conn *net.UnixConn) {
	if at := l.inside[conn]; at != nil {
		l.resting.Remove(at)
	}
	delete(l.inside, conn)
	conn.Close()
	l.room.Signal()
}

// rest marks a connection as waiting for its client. It reports whether the
// connection may stay.
func (l *lobby) rest(conn *net.UnixConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.wanted > 0 {
		return false
	}
	l.inside[conn] = l.resting.PushBack(conn)
	return true
}

// rise marks a connection as busy, so that it is not shown out. It reports
// whether that had not happened already.
func (l *lobby) rise(conn *net.UnixConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, here := l.inside[conn]
	if here {
		l.resting.Remove(at)
		l.inside[conn] = nil
	}
	return here
}

// leave closes a connection. It does nothing to one that was shown out.
func (l *lobby) leave(conn *net.UnixConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, here := l.inside[conn]; here {
		l.drop(conn)
	}
}

// close shows everybody out who rests, and those who are busy afterwards.
func (l *lobby) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for l.showOut() {
	}
	l.room.Broadcast()
}
