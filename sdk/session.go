package sdk

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A session is what ties leases and uncommitted allocations to this process:
// on the daemon's own machine they end within milliseconds of its death. It is
// also the fast way to ask: resolve, acquire, renew and release travel as
// frames of one stream, which costs a quarter of what calls do.
//
// The stream is opened when first needed, and opened again when it breaks. In
// between, where it is full, and with a daemon that knows no sessions, the same
// requests travel as calls. What may wait for others, an allocation or a
// promotion, is always a call, because a call has a deadline and can be given
// up; it names the session instead.
type session struct {
	payloadv1.LeaseServiceClient // the calls
	client                       *Client
	ctx                          context.Context // of the stream
	cancel                       context.CancelFunc
	keeping                      sync.WaitGroup

	mu    sync.Mutex
	id    string        // once a daemon gave one
	line  *line         // nil: none stands
	kept  bool          // a keeper is at work
	first chan struct{} // closed when its attempt to begin is over; nil: it is
	off   bool          // the daemon knows no sessions, or the client is closed
}

func newSession(c *Client, calls payloadv1.LeaseServiceClient) *session {
	s := &session{LeaseServiceClient: calls, client: c}
	s.ctx, s.cancel = context.WithCancel(c.background)
	return s
}

// attached is the line to ask on, or nil. It waits for the first line alone:
// while a broken one is replaced, calls do as well.
func (s *session) attached(ctx context.Context) *line {
	s.mu.Lock()
	if !s.kept && !s.off {
		s.kept, s.first = true, make(chan struct{})
		s.keeping.Go(s.keep)
	}
	at, first := s.line, s.first
	s.mu.Unlock()
	if at != nil || first == nil {
		return at
	}
	select {
	case <-first:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.line
}

// name is the session's id for a call; empty where there is no session.
func (s *session) name(ctx context.Context) string {
	s.attached(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// keep attaches, and attaches again whenever the line breaks, until the client
// closes. Where no session could begin it tries once: whoever needs one next
// has another keeper try.
func (s *session) keep() {
	for pause := reconnect.Backoff.BaseDelay; ; pause = min(2*pause, reconnect.Backoff.MaxDelay) {
		at, err := s.attach(s.ctx)
		if err == nil {
			pause = reconnect.Backoff.BaseDelay
			_ = at.listen() // why it broke is no matter: those who wait repeat
		}
		if !s.again(err) || !rest(s.ctx, pause) {
			return
		}
	}
}

// attach opens a line that lives as long as ctx, and greets.
func (s *session) attach(ctx context.Context) (*line, error) {
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	stream, err := s.LeaseServiceClient.Session(ctx)
	if err != nil {
		return nil, err
	}
	hello := &payloadv1.SessionRequest_Hello{Holder: s.client.holder, SessionId: id}
	if err := stream.Send(&frame{Request: &payloadv1.SessionRequest_Hello_{Hello: hello}}); err != nil {
		_, err = stream.Recv() // which says why
		return nil, err
	}
	said, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return s.stand(newLine(stream), said.GetWelcome()), nil
}

// stand has the line used from now on.
func (s *session) stand(at *line, welcome *payloadv1.SessionResponse_Welcome) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.line = welcome.GetSessionId(), at
	s.begun()
	return at
}

func (s *session) begun() {
	if s.first != nil {
		close(s.first)
		s.first = nil
	}
}

// again says whether to attach once more after an attempt or a line ended. A
// session that the daemon refuses, as after its key was replaced, is given up
// for a new one.
func (s *session) again(err error) bool {
	var code payload.Code
	if err != nil {
		code = s.client.failure("session", err).Code
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = nil
	begun := s.id != ""
	if code == payload.Denied || code == payload.Invalid {
		s.id = ""
	}
	s.off = s.off || code == payload.Unsupported
	s.kept = !s.off && begun
	if !s.kept {
		s.begun()
	}
	return s.kept
}

// close ends the session: what it still holds is given back at once, if the
// daemon can be told.
func (s *session) close() {
	s.mu.Lock()
	s.off = true
	at, id := s.line, s.id
	s.mu.Unlock()
	told := id == "" || at != nil && at.bye()
	s.cancel()
	s.keeping.Wait()
	if !told {
		s.farewell()
	}
}

// farewell comes back to a session whose line broke, to end it.
func (s *session) farewell() {
	ctx, cancel := context.WithTimeout(s.client.background, goodbye)
	defer cancel()
	at, err := s.attach(ctx)
	if err != nil {
		return // the leases run out, at the latest
	}
	var listening sync.WaitGroup
	listening.Go(func() { _ = at.listen() })
	at.bye()
	cancel()
	listening.Wait()
}

// ask carries out a frame, and repeats it when the daemon says that it makes
// sense. It is not carried where a call has to do it.
func (s *session) ask(ctx context.Context, op string, make func() *frame) (answer *reply, carried bool, err error) {
	for attempt := 1; ; attempt++ {
		at := s.attached(ctx)
		if at == nil {
			return nil, false, nil
		}
		answer, carried, err := at.ask(ctx, make())
		if !carried {
			return nil, false, nil
		}
		known := outcome(op, answer, err)
		if known == nil {
			return answer, true, nil
		}
		if pause, again := repeats(known, attempt); !again || !rest(ctx, pause) {
			return nil, true, known
		}
	}
}

// outcome is what went wrong with a frame, and nil where nothing did.
func outcome(op string, answer *reply, err error) *payload.Error {
	var known *payload.Error
	switch {
	case err != nil:
		known = givenUp(err)
	case answer.GetError() != nil:
		known = itemFailure(answer.GetError())
	default:
		return nil
	}
	known.Op = op
	return known
}

// Resolve implements payloadv1.LeaseServiceClient, as the methods below do.
func (s *session) Resolve(ctx context.Context, r *payloadv1.ResolveRequest, options ...grpc.CallOption) (*payloadv1.ResolveResponse, error) {
	answer, carried, err := s.ask(ctx, "resolve", func() *frame {
		return &frame{Request: &payloadv1.SessionRequest_Resolve{Resolve: r}}
	})
	if !carried {
		return s.LeaseServiceClient.Resolve(ctx, r, options...)
	}
	return answer.GetResolve(), err
}

func (s *session) Acquire(ctx context.Context, r *payloadv1.AcquireRequest, options ...grpc.CallOption) (*payloadv1.AcquireResponse, error) {
	if !r.GetWait() {
		answer, carried, err := s.ask(ctx, "acquire", func() *frame {
			return &frame{Request: &payloadv1.SessionRequest_Acquire{Acquire: r}}
		})
		if carried {
			return answer.GetAcquire(), err
		}
	}
	r.SessionId = s.name(ctx)
	return s.LeaseServiceClient.Acquire(ctx, r, options...)
}

func (s *session) Renew(ctx context.Context, r *payloadv1.RenewRequest, options ...grpc.CallOption) (*payloadv1.RenewResponse, error) {
	answer, carried, err := s.ask(ctx, "renew", func() *frame {
		return &frame{Request: &payloadv1.SessionRequest_Renew{Renew: r}}
	})
	if !carried {
		return s.LeaseServiceClient.Renew(ctx, r, options...)
	}
	return answer.GetRenew(), err
}

func (s *session) Release(ctx context.Context, r *payloadv1.ReleaseRequest, options ...grpc.CallOption) (*payloadv1.ReleaseResponse, error) {
	answer, carried, err := s.ask(ctx, "release", func() *frame {
		return &frame{Request: &payloadv1.SessionRequest_Release{Release: r}}
	})
	if !carried {
		return s.LeaseServiceClient.Release(ctx, r, options...)
	}
	return answer.GetRelease(), err
}

// A life makes allocations in the client's session.
type life struct {
	payloadv1.PayloadServiceClient
	session *session
}

// Allocate implements payloadv1.PayloadServiceClient.
func (l life) Allocate(ctx context.Context, r *payloadv1.AllocateRequest, options ...grpc.CallOption) (*payloadv1.AllocateResponse, error) {
	r.SessionId = l.session.name(ctx)
	return l.PayloadServiceClient.Allocate(ctx, r, options...)
}
