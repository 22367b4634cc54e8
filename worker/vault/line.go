package vault

import (
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A line is one end of a connection: frames, each with one descriptor or none.
type line struct {
	sender
	frame []byte // the last one received; valid until the next
	cut   bool   // the kernel dropped descriptors that came with it
	reply []byte // room to build an answer in

	buffer  []byte
	control []byte
	came    []int // descriptors, still the line's
}

// A sender of more descriptors than one has them closed again.
const mostDescriptors = 4

func newLine(conn *net.UnixConn) *line {
	return &line{
		sender: sender{conn: conn}, buffer: make([]byte, maxFrame+1), control: make([]byte, unix.CmsgSpace(4*mostDescriptors)),
		reply: make([]byte, 0, maxFrame),
	}
}

// receive waits for a frame. What came with it is dropped with drop.
func (l *line) receive() error {
	n, controls, flags, _, err := l.conn.ReadMsgUnix(l.buffer, l.control)
	if err != nil {
		return err
	}
	if err := l.open(l.control[:controls]); err != nil {
		return err
	}
	if n == 0 || n > maxFrame {
		l.drop()
		return io.ErrUnexpectedEOF
	}
	l.frame, l.cut = l.buffer[:n], flags&unix.MSG_CTRUNC != 0
	return nil
}

func (l *line) open(control []byte) error {
	if len(control) == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return err
		}
		l.came = append(l.came, fds...)
	}
	return nil
}

// take hands the one descriptor that came over to the caller, or returns -1.
func (l *line) take() int {
	if len(l.came) != 1 {
		return -1
	}
	fd := l.came[0]
	l.came = l.came[:0]
	return fd
}

// drop closes what came and nobody took.
func (l *line) drop() {
	for _, fd := range l.came {
		_ = unix.Close(fd) // nothing was written through it
	}
	l.came = l.came[:0]
}

// A sender sends frames, from one goroutine at a time.
type sender struct {
	conn  *net.UnixConn
	until time.Time // the deadline that is set
}

// send sends a frame, and fd with it unless that is -1. A peer that does not
// take it away within once or twice the patience is given up: the deadline is
// set anew only when it comes close, because setting it costs as much as
// sending.
func (s *sender) send(frame []byte, fd int) error {
	if now := time.Now(); s.until.Sub(now) < patience {
		s.until = now.Add(2 * patience)
		if err := s.conn.SetWriteDeadline(s.until); err != nil {
			return err
		}
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err := s.conn.WriteMsgUnix(frame, rights, nil)
	return err
}
