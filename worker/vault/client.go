package vault

import (
	"context"
	"encoding/hex"
	"net"
	"os"
	"sync"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Client is a daemon's connection to its vault. Its methods may be called
// concurrently; requests travel without waiting for each other's answers. It is
// good for one connection: once Done is closed every method answers Unavailable.
//
// Labels are 1 to 255 bytes of the caller's choice. A method whose ctx ends
// returns, but what it asked for is still done, before everything that is asked
// after.
type Client struct {
	conn  *net.UnixConn
	nonce [nonceSize]byte

	sending sync.Mutex // keeps requests in the order in which they wait
	sender  sender

	mu      sync.Mutex
	waiting []*call
	dead    bool
	done    chan struct{}
}

type call struct{ answered chan answer }

type answer struct {
	body []byte   // after the status
	file *os.File // the caller's; nil if none came
	err  error
}

// Dial connects to the vault at path as the daemon that owns what it keeps.
// Codes: Unavailable when nobody answers there, Denied when the vault keeps
// another owner's segments or runs as another user, Unsupported when it speaks
// no version of ours.
func Dial(ctx context.Context, path string, owner Owner) (*Client, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, sender: sender{conn: conn}, done: make(chan struct{})}
	l := newLine(conn)
	if err := c.greet(l, owner); err != nil {
		conn.Close()
		return nil, err
	}
	go c.listen(l)
	return c, nil
}

func (c *Client) greet(l *line, owner Owner) error {
	if err := sameUser(c.conn); err != nil {
		return err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(2 * patience)) // the vault may wait once for an older connection
	if c.sender.send(hello(owner), -1) != nil || l.receive() != nil {
		return payload.Errorf(payload.Unavailable, "the vault does not answer")
	}
	defer l.drop()
	_ = c.conn.SetReadDeadline(time.Time{})
	if err := status(l.frame[0]).err(); err != nil {
		return err
	}
	if len(l.frame) != welcomeSize {
		return malformed.err()
	}
	copy(c.nonce[:], l.frame[3:])
	return nil
}

// Vault names the running vault: another name means that the one before has
// ended, with all it kept.
func (c *Client) Vault() string { return hex.EncodeToString(c.nonce[:]) }

// Done is closed when the connection has ended: the vault died, closed it for a
// newer one, or Close was called.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection. The vault keeps what it has.
func (c *Client) Close() error {
	c.conn.Close()
	<-c.done
	return nil
}

// Keep puts a duplicate of file into the vault under label. It is there when
// Keep returns nil. Keeping the same file again changes nothing. Codes:
// AlreadyExists when another file has the label, Exhausted, Unavailable.
func (c *Client) Keep(ctx context.Context, label string, file *os.File) error {
	frame, err := labelled(opPut, label)
	if err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return payload.Errorf(payload.Internal, "the file to keep is closed")
	}
	var asked *call
	// Control keeps the descriptor from being closed until it was sent.
	if controlErr := raw.Control(func(fd uintptr) { asked, err = c.ask(frame, int(fd)) }); controlErr != nil {
		return payload.Errorf(payload.Internal, "the file to keep is closed")
	}
	if err != nil {
		return err
	}
	return asked.await(ctx).err
}

// Fetch returns a duplicate of what is kept, for the caller to close. Codes:
// NotFound, Exhausted when this process may open no more files, Unavailable.
func (c *Client) Fetch(ctx context.Context, label string) (*os.File, error) {
	a := c.do(ctx, opGet, label)
	if a.err == nil && a.file == nil {
		return nil, payload.Errorf(payload.Exhausted, "the daemon may open no more files: raise its LimitNOFILE")
	}
	return a.file, a.err
}

// Retire marks what is kept as removed, so that List says so.
func (c *Client) Retire(ctx context.Context, label string) error {
	return c.do(ctx, opRetire, label).err
}

// Forget lets go of what is kept. The vault holds it no more when Forget
// returns nil.
func (c *Client) Forget(ctx context.Context, label string) error {
	return c.do(ctx, opForget, label).err
}

// List visits everything that is kept, in no order, until visit fails. Sealed
// says that the kernel lets nobody change the bytes any more. One List runs at a
// time.
func (c *Client) List(ctx context.Context, visit func(label string, size int64, sealed, retired bool) error) error {
	for cursor := uint32(0); ; {
		next, entries, err := c.page(ctx, cursor)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := visit(e.label, e.size, e.sealed, e.retired); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		cursor = next
	}
}

func (c *Client) page(ctx context.Context, cursor uint32) (uint32, []entry, error) {
	asked, err := c.ask(list(cursor), -1)
	if err != nil {
		return 0, nil, err
	}
	a := asked.await(ctx)
	if a.err != nil {
		return 0, nil, a.err
	}
	return parsePage(a.body)
}

func (c *Client) do(ctx context.Context, op byte, label string) answer {
	frame, err := labelled(op, label)
	if err != nil {
		return answer{err: err}
	}
	asked, err := c.ask(frame, -1)
	if err != nil {
		return answer{err: err}
	}
	return asked.await(ctx)
}

// ask sends a request. Exactly one answer comes to the call it returns.
func (c *Client) ask(frame []byte, fd int) (*call, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	asked := &call{answered: make(chan answer, 1)}
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return nil, gone()
	}
	c.waiting = append(c.waiting, asked)
	c.mu.Unlock()
	if err := c.sender.send(frame, fd); err != nil {
		c.conn.Close() // which answers every call that waits, this one too
	}
	return asked, nil
}

// await returns the answer, or what ended ctx. A descriptor that comes too late
// is closed.
func (c *call) await(ctx context.Context) answer {
	select {
	case a := <-c.answered:
		return a
	case <-ctx.Done():
		go func() {
			if late := <-c.answered; late.file != nil {
				late.file.Close()
			}
		}()
		return answer{err: payload.Errorf(payload.Unavailable, "interrupted: %w", ctx.Err())}
	}
}

// listen brings answers to their calls until the connection ends.
func (c *Client) listen(l *line) {
	for l.receive() == nil {
		asked := c.next()
		if asked == nil {
			break // nobody asked: it is not our protocol
		}
		asked.answered <- l.answer()
		l.drop()
	}
	l.drop()
	c.conn.Close()
	c.mu.Lock()
	c.dead = true
	left := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, asked := range left {
		asked.answered <- answer{err: gone()}
	}
	close(c.done)
}

func (c *Client) next() *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	asked := c.waiting[0]
	c.waiting = c.waiting[1:]
	return asked
}

func (l *line) answer() answer {
	a := answer{err: status(l.frame[0]).err()}
	if len(l.frame) > 1 {
		a.body = append(a.body, l.frame[1:]...)
	}
	if fd := l.take(); fd >= 0 {
		a.file = os.NewFile(uintptr(fd), "payload")
	}
	return a
}

func gone() error {
	return payload.Errorf(payload.Unavailable, "the vault is gone: memory is kept again once another is found").Retry(time.Second)
}
