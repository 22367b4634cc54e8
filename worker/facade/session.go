package facade

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// Bounds of one stream. A client that sends faster than it is answered is not
// read any further; acquires that wait are counted apart, so that they never
// keep the release out that they wait for.
const (
	maxFrames  = 256
	maxWaiting = 64
)

// restart is how long a daemon is away that shuts down to start again.
const restart = time.Second

type (
	sessionStream = grpc.BidiStreamingServer[payloadv1.SessionRequest, payloadv1.SessionResponse]
	frame         = payloadv1.SessionRequest
	answer        = payloadv1.SessionResponse
)

// Session serves one client process's stream until either side ends it. Only a
// client that half-closes it ends the session with it.
func (s *leaseService) Session(stream sessionStream) error {
	by, hello, err := s.facade.greet(stream)
	if err != nil {
		return err
	}
	defer s.facade.sessions.leave(by.session)
	welcome := &payloadv1.SessionResponse_Welcome{SessionId: by.session.id, Host: s.facade.host.Name()}
	if err := stream.Send(&answer{Seq: hello.GetSeq(), Response: &payloadv1.SessionResponse_Welcome_{Welcome: welcome}}); err != nil {
		return err
	}
	err = s.newConversation(stream, by).run()
	if err == nil {
		s.facade.sessions.finish(by.session)
	}
	return err
}

// greet reads the Hello that a stream begins with, and finds its session.
func (f *Facade) greet(stream sessionStream) (client, *frame, error) {
	first, err := stream.Recv()
	if err != nil {
		return client{}, nil, err
	}
	if first.GetHello() == nil {
		early := payload.Errorf(payload.Conflict, "a session begins with a hello").Because(noHello)
		return client{}, nil, early
	}
	var read fields
	id, holder := read.session("hello.session_id", first.GetHello().GetSessionId()), read.name("hello.holder", first.GetHello().GetHolder())
	if read.err != nil {
		return client{}, nil, read.err
	}
	enter := f.sessions.begin
	if id != "" {
		enter = func(p *peer) (*session, error) { return f.sessions.join(id, p) }
	}
	one, err := enter(peerOf(stream.Context()))
	return client{session: one, holder: holder}, first, err
}

// noHello is the reason of a stream that skipped its greeting.
const noHello payload.Reason = "NO_HELLO"

// session reads a session's id; none is a wish for a new one, or for no session
// at all.
func (f *fields) session(field, id string) string {
	wrong := id != "" && len(id) != placement.SessionIDLength
	for i := range len(id) {
		wrong = wrong || !(id[i] >= 'A' && id[i] <= 'Z' || id[i] >= '2' && id[i] <= '7')
	}
	if wrong {
		f.fail(invalid(field, "use the id that an earlier welcome gave, or none"))
	}
	return id
}

// within is the session that a call names, and nil where it names none. It must
// be left when the call is over.
func (f *Facade) within(ctx context.Context, id string) (*session, error) {
	var read fields
	if read.session("session_id", id); id == "" || read.err != nil {
		return nil, read.err
	}
	return f.sessions.join(id, peerOf(ctx))
}

// A conversation is one stream after its greeting.
type conversation struct {
	service *leaseService
	stream  sessionStream
	by      client
	ctx     context.Context // ends with the stream, its session or the daemon
	cancel  context.CancelFunc

	received chan *frame
	failed   chan error // why no more frames come; one is sent
	room     *semaphore.Weighted
	waiting  *semaphore.Weighted
	sending  sync.Mutex // a stream takes one Send at a time
}

func (s *leaseService) newConversation(stream sessionStream, by client) *conversation {
	c := &conversation{
		service: s, stream: stream, by: by,
		received: make(chan *frame),
		failed:   make(chan error, 1),
		room:     semaphore.NewWeighted(maxFrames),
		waiting:  semaphore.NewWeighted(maxWaiting),
	}
	c.ctx, c.cancel = context.WithCancel(stream.Context())
	return c
}

// run answers frames until the client or the daemon ends, and returns when the
// last answer under way is sent or given up.
func (c *conversation) run() error {
	defer func() {
		c.cancel()
		_ = c.room.Acquire(context.Background(), maxFrames) // all are answered; it cannot fail
		_ = c.waiting.Acquire(context.Background(), maxWaiting)
	}()
	go c.receive()
	for {
		select {
		case f := <-c.received:
			c.take(f)
		case err := <-c.failed:
			return ended(err)
		case <-c.service.facade.closing.Done():
			return shuttingDown("session")
		case <-c.by.session.ctx.Done():
			return payload.Errorf(payload.Expired, "the session has ended: begin a new one")
		}
	}
}

func (c *conversation) receive() {
	for {
		f, err := c.stream.Recv()
		if err != nil {
			c.failed <- err
			return
		}
		select {
		case c.received <- f:
		case <-c.ctx.Done():
			return
		}
	}
}

// ended is nil where the client said that it had no more to ask.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// take begins to answer a frame. It waits while too many are under way.
func (c *conversation) take(f *frame) {
	bound := c.room
	if f.GetAcquire().GetWait() {
		bound = c.waiting
		if !bound.TryAcquire(1) {
			c.send(f, nil, payload.Errorf(payload.Exhausted, "at most %d acquires of one session wait at a time", maxWaiting).Retry(restart))
			return
		}
	} else if bound.Acquire(c.ctx, 1) != nil {
		return // the stream is over
	}
	go func() {
		defer bound.Release(1)
		said, err := guard(func() (*answer, error) { return c.reply(f) })
		c.send(f, said, err)
	}()
}

// reply carries out what a frame asks.
func (c *conversation) reply(f *frame) (*answer, error) {
	switch r := f.GetRequest().(type) {
	case *payloadv1.SessionRequest_Resolve:
		said, err := c.service.Resolve(c.ctx, r.Resolve)
		return &answer{Response: &payloadv1.SessionResponse_Resolve{Resolve: said}}, err
	case *payloadv1.SessionRequest_Acquire:
		said, err := c.service.acquire(c.ctx, r.Acquire, c.by, r.Acquire.GetWait())
		return &answer{Response: &payloadv1.SessionResponse_Acquire{Acquire: said}}, err
	case *payloadv1.SessionRequest_Renew:
		said, err := c.service.Renew(c.ctx, r.Renew)
		return &answer{Response: &payloadv1.SessionResponse_Renew{Renew: said}}, err
	case *payloadv1.SessionRequest_Release:
		said, err := c.service.Release(c.ctx, r.Release)
		return &answer{Response: &payloadv1.SessionResponse_Release{Release: said}}, err
	case *payloadv1.SessionRequest_Hello_:
		return nil, payload.Errorf(payload.Invalid, "a session has one hello, and it comes first")
	default:
		return nil, payload.Errorf(payload.Invalid, "the frame asks nothing that this daemon knows")
	}
}

// asks names what a frame wants, for errors.
func asks(f *frame) string {
	switch f.GetRequest().(type) {
	case *payloadv1.SessionRequest_Resolve:
		return "resolve"
	case *payloadv1.SessionRequest_Acquire:
		return "acquire"
	case *payloadv1.SessionRequest_Renew:
		return "renew"
	case *payloadv1.SessionRequest_Release:
		return "release"
	default:
		return "session"
	}
}

// send answers a frame. A stream that broke is noticed where frames are
// received.
func (c *conversation) send(f *frame, said *answer, err error) {
	if err != nil {
		said = &answer{Response: &payloadv1.SessionResponse_Error{Error: c.service.facade.itemError(c.ctx, asks(f), err)}}
	}
	said.Seq = f.GetSeq()
	c.sending.Lock()
	defer c.sending.Unlock()
	_ = c.stream.Send(said)
}
