package servers

import (
	"bytes"
	"io"
	"sync"
)

// tailSize is enough for the few lines in which a server says why it ends.
const tailSize = 2 << 10

// A tail passes a server's output on and remembers the end of it, for the
// error that must say why the server does not run.
type tail struct {
	to io.Writer // may be nil

	mu   sync.Mutex
	last []byte
}

// Write never fails: a log that is full or closed must not end the server.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if over := len(t.last) - tailSize; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	if t.to != nil {
		_, _ = t.to.Write(b)
	}
	return len(b), nil
}

func (t *tail) words() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
