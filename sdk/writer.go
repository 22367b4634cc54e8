package sdk

import (
	"context"
	"io"
	"sync"
	"time"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// An AllocateOption says what a new payload is like.
type AllocateOption func(*allocation)

type allocation struct {
	namespace string
	name      string
	policy    payload.Policy
	progress  func(bytes int64)
}

// WithName gives the payload a name for people. It need not be unique.
func WithName(name string) AllocateOption { return func(a *allocation) { a.name = name } }

// WithNamespace puts the payload into another namespace than the client's.
func WithNamespace(name string) AllocateOption { return func(a *allocation) { a.namespace = name } }

// WithTier is where the bytes go first. Without it that is ram.
func WithTier(t payload.Tier) AllocateOption { return func(a *allocation) { a.policy.Tier = t } }

// WithTTL is how long the payload lives after its commit. Without it that is
// until it is deleted.
func WithTTL(d time.Duration) AllocateOption { return func(a *allocation) { a.policy.TTL = d } }

// WithLifecycle chooses the shape of the payload's workflow.
func WithLifecycle(kind payload.LifecycleKind) AllocateOption {
	return func(a *allocation) { a.policy.Lifecycle = kind }
}

// CommitWithin is how long the producer may take; then the allocation is given
// up. Without it that is fifteen minutes.
func CommitWithin(d time.Duration) AllocateOption {
	return func(a *allocation) { a.policy.CommitWithin = d }
}

// WithProgress has report called, from any goroutine, with how many more bytes
// reached their tier: pieces that Put copied, or parts that a commit uploaded.
func WithProgress(report func(bytes int64)) AllocateOption {
	return func(a *allocation) { a.progress = report }
}

// A Writer fills one allocation. For ram and disk its bytes are those of the
// payload, mapped into this process; for object they are memory that Commit
// uploads. Write and WriteAt may be called concurrently with each other.
type Writer struct {
	client    *Client
	id        payload.ID
	namespace string
	size      int64
	progress  func(bytes int64)
	request   string // of the commit, so that it can be repeated

	bytes  *access.Mapping
	upload *access.Upload // object only

	mu        sync.Mutex
	next      int64            // where Write goes on
	sum       payload.Checksum // known once the bytes were let go
	committed bool
}

// Allocate reserves room for size bytes and returns their writer. When the tier
// is full it waits for room, at most until the deadline of ctx. The caller must
// Commit or Abort; an allocation that is left alone is given up by the daemon
// when its time is over.
func (c *Client) Allocate(ctx context.Context, size int64, options ...AllocateOption) (*Writer, error) {
	asked := allocation{namespace: c.namespace}
	for _, option := range options {
		option(&asked)
	}
	policy, err := policyOut(asked.policy)
	if err != nil {
		return nil, payload.Wrap("allocate", payload.ID{}, err)
	}
	answer, err := c.life.Allocate(ctx, &payloadv1.AllocateRequest{
		RequestId: newRequest(), Namespace: asked.namespace, Name: asked.name, Size: size, Policy: policy,
	})
	p, err := payloadOf(answer, err)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		client: c, id: p.ID, namespace: p.Namespace, size: p.Size, progress: asked.progress, request: newRequest(),
	}
	if err := w.open(ctx, answer); err != nil {
		w.abandon()
		return nil, payload.Wrap("allocate", p.ID, err)
	}
	return w, nil
}

// open gets hold of the memory to write into.
func (w *Writer) open(ctx context.Context, answer *payloadv1.AllocateResponse) (err error) {
	if len(answer.GetParts()) == 0 {
		w.bytes, err = w.client.openFile(ctx, answer.GetWriteToken())
		return err
	}
	var parts []access.Part
	for _, p := range answer.GetParts() {
		parts = append(parts, access.Part{Offset: p.GetOffset(), Size: p.GetSize(), URL: p.GetUrl()})
	}
	if w.upload, err = w.client.storage.Stage(w.size, parts); err != nil {
		return err
	}
	w.bytes = w.upload.Mapping
	return nil
}

// abandon gives up an allocation that nobody will ever write. When the daemon
// does not hear of it, the allocation's own deadline does the same later.
func (w *Writer) abandon() {
	ctx, cancel := context.WithTimeout(w.client.background, goodbye)
	defer cancel()
	_ = w.Abort(ctx)
}

// ID names the payload, from the first moment.
func (w *Writer) ID() payload.ID { return w.id }

// Size is how many bytes were allocated.
func (w *Writer) Size() int64 { return w.size }

// Bytes is the memory to write into. It must not be touched any more once
// Commit or Abort was called: they unmap it. What is left unwritten is zero.
func (w *Writer) Bytes() []byte { return w.bytes.Bytes() }

// Write goes on where the Write before ended. What does not fit any more is
// refused whole, with code Invalid.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.bytes.WriteAt(p, w.next)
	w.next += int64(n)
	return n, payload.Wrap("write", w.id, err)
}

// WriteAt writes at an offset, and leaves alone where Write goes on.
func (w *Writer) WriteAt(p []byte, offset int64) (int, error) {
	n, err := w.bytes.WriteAt(p, offset)
	return n, payload.Wrap("write", w.id, err)
}

// Commit sums the bytes, lets go of them and has them sealed: from then on they
// are immutable and readable by everybody. After an error it may be called
// again. Code Busy with reason STILL_MAPPED says that somebody else, such as a
// child process, still holds the bytes writable.
func (w *Writer) Commit(ctx context.Context) (payload.Payload, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.sum.Known() {
		if err := w.finish(ctx); err != nil {
			return payload.Payload{}, payload.Wrap("commit", w.id, err)
		}
	}
	p, err := payloadOf(w.client.life.Commit(ctx, &payloadv1.CommitRequest{
		RequestId: w.request, Namespace: w.namespace, Id: w.id.String(), Checksum: w.sum.String(),
	}))
	w.committed = w.committed || err == nil
	return p, err
}

// finish sums the bytes while they are at hand, brings them where they belong
// and unmaps them.
func (w *Writer) finish(ctx context.Context) error {
	bytes := w.bytes.Bytes()
	if bytes == nil {
		return payload.Errorf(payload.Invalid, "the writer was aborted: allocate again")
	}
	sum := access.Sum(bytes)
	if w.upload != nil {
		if err := w.upload.Send(ctx, w.progress); err != nil {
			return err
		}
	}
	if err := w.bytes.Close(); err != nil {
		return err
	}
	w.sum = sum
	return nil
}

// Abort gives the allocation back. After a successful Commit it does nothing,
// so that it can be deferred.
func (w *Writer) Abort(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.committed {
		return nil
	}
	if w.bytes != nil {
		if err := w.bytes.Close(); err != nil {
			return payload.Wrap("abort", w.id, err)
		}
	}
	_, err := w.client.life.Abort(ctx, &payloadv1.AbortRequest{RequestId: newRequest(), Namespace: w.namespace, Id: w.id.String()})
	return err
}

// putPiece is how much Put copies at a time: it looks whether its context ended
// and reports progress in between.
const putPiece = 4 << 20 // bytes

// Put allocates size bytes, fills them from r and commits them. When r ends
// early or fails, nothing is left behind.
func (c *Client) Put(ctx context.Context, r io.Reader, size int64, options ...AllocateOption) (payload.Payload, error) {
	w, err := c.Allocate(ctx, size, options...)
	if err != nil {
		return payload.Payload{}, err
	}
	if err := w.fill(ctx, r); err != nil {
		w.abandon()
		return payload.Payload{}, payload.Wrap("put", w.id, err)
	}
	p, err := w.Commit(ctx)
	if err != nil {
		w.abandon()
	}
	return p, err
}

// fill reads straight into the payload's memory.
func (w *Writer) fill(ctx context.Context, r io.Reader) error {
	for rest := w.Bytes(); len(rest) > 0; {
		if ctx.Err() != nil {
			return payload.Errorf(payload.Unavailable, "given up before all bytes came: %w", context.Cause(ctx))
		}
		n, err := io.ReadFull(r, rest[:min(putPiece, len(rest))])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return payload.Errorf(payload.Invalid, "the input ended %d bytes before the size that was given", len(rest)-n)
		}
		if err != nil {
			return payload.Errorf(payload.Internal, "the input cannot be read: %w", err)
		}
		rest = rest[n:]
		if w.progress != nil && w.upload == nil {
			w.progress(int64(n))
		}
	}
	return nil
}
