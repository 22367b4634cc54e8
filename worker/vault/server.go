package vault

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a peer may leave a greeting or an answer waiting.
	patience = 5 * time.Second
	// breath is how long a vault that can accept nobody waits.
	breath = 100 * time.Millisecond
	// spare descriptors are for connections, so that a full vault can still be
	// emptied.
	spare = 64
)

// A Server keeps memory from Listen to Close.
type Server struct {
	listener *net.UnixListener
	nonce    [nonceSize]byte
	log      *slog.Logger
	running  sync.WaitGroup // the accepting, and every visit

	mu     sync.Mutex
	closed bool
	visits map[*net.UnixConn]bool

	// turn is held while one request is carried out and answered, and while a
	// daemon is admitted: the connection before has then left off.
	turn    sync.Mutex
	current *net.UnixConn
	owner   Owner
	shelf   *shelf
}

// Listen makes the vault's socket at path, for its own user alone, and answers
// there until Close. It keeps as many segments as the process may open files,
// less a few. Codes: AlreadyExists when a vault answers at path or it is no
// socket, Unavailable.
func Listen(path string, log *slog.Logger) (*Server, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, full.err()
	}
	listener, err := listen(path)
	if err != nil {
		return nil, err
	}
	const plenty = 1 << 30 // where there is no limit
	most := int(min(limit.Cur, plenty)) - spare
	s := &Server{listener: listener, log: log, visits: make(map[*net.UnixConn]bool), shelf: newShelf(most)}
	rand.Read(s.nonce[:]) // never fails: crypto/rand ends the process instead
	s.running.Go(s.accept)
	return s, nil
}

// Close ends every connection, removes the socket and lets go of everything
// kept.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.visits {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.shelf.close()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return reason(err)
	}
	return nil
}

// Connected reports whether a daemon is connected.
func (s *Server) Connected() bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.current != nil
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.log.Error("the vault let a daemon wait", "reason", reason(err))
			time.Sleep(breath)
		case s.enter(conn):
			s.running.Go(func() { s.receive(conn) })
		}
	}
}

func (s *Server) enter(conn *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	s.visits[conn] = true
	return true
}

func (s *Server) leave(conn *net.UnixConn) {
	conn.Close()
	s.mu.Lock()
	delete(s.visits, conn)
	s.mu.Unlock()
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.current == conn {
		s.current = nil
	}
}

// receive greets one connection and answers it until it ends.
func (s *Server) receive(conn *net.UnixConn) {
	defer s.leave(conn)
	if err := sameUser(conn); err != nil {
		s.log.Warn("a stranger was refused", "reason", err)
		return
	}
	l := newLine(conn)
	if s.greet(l) != ok {
		return
	}
	for l.receive() == nil {
		if err := s.answer(l); err != nil {
			return
		}
	}
}

func (s *Server) greet(l *line) status {
	_ = l.conn.SetReadDeadline(time.Now().Add(patience)) // fails on a closed socket alone, as does what follows
	if l.receive() != nil {
		return malformed
	}
	_ = l.conn.SetReadDeadline(time.Time{})
	defer l.drop()
	owner, st := parseHello(l.frame)
	if st == ok {
		st = s.admit(l.conn, owner)
	}
	if l.send(welcome(st, s.nonce), -1) != nil {
		return malformed
	}
	return st
}

// admit makes conn the daemon's connection in place of an older one.
func (s *Server) admit(conn *net.UnixConn, owner Owner) status {
	s.turn.Lock()
	defer s.turn.Unlock()
	if owner != s.owner && len(s.shelf.kept) > 0 {
		return foreign
	}
	if s.current != nil {
		s.log.Info("another connection of the daemon takes over")
		s.current.Close()
	}
	s.current, s.owner = conn, owner
	return ok
}

// answer carries out one request. Its error means that the connection is of no
// use any more.
func (s *Server) answer(l *line) error {
	defer l.drop()
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.current != l.conn {
		return net.ErrClosed // what it asked comes after the takeover
	}
	reply, fd := s.do(l)
	return l.send(reply, fd)
}

// do returns the answer, and the descriptor to go with it or -1.
func (s *Server) do(l *line) (reply []byte, fd int) {
	op, body := l.frame[0], l.frame[1:]
	reply, fd = append(l.reply[:0], 0), -1
	var st status
	switch {
	case op == opList && len(body) == cursorSize:
		reply, st = s.shelf.page(reply, binary.BigEndian.Uint32(body))
	case op == opList || len(body) == 0 || len(body) > maxLabel:
		st = malformed
	case op == opPut:
		st = s.put(l, string(body))
	case op == opGet:
		fd, st = s.shelf.get(string(body))
	case op == opRetire:
		st = s.shelf.retire(string(body))
	case op == opForget:
		st = s.shelf.forget(string(body))
	default:
		st = malformed
	}
	if reply[0] = byte(st); st != ok {
		reply = reply[:1]
	}
	return reply, fd
}

// put keeps the descriptor that came with the request. The kernel drops those
// that this process may not open any more.
func (s *Server) put(l *line, label string) status {
	switch fd := l.take(); {
	case fd >= 0:
		return s.shelf.put(label, fd)
	case l.cut:
		return full
	default:
		return malformed
	}
}
