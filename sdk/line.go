package sdk

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

type (
	sessionStream = grpc.BidiStreamingClient[payloadv1.SessionRequest, payloadv1.SessionResponse]
	frame         = payloadv1.SessionRequest
	reply         = payloadv1.SessionResponse
)

// maxFrames bounds the frames under way on one line, half of what a daemon
// reads ahead, so that one that takes long, as while a database is down, never
// keeps the others from being read. What comes on top travels as a call.
const maxFrames = 128

// A line is one stream of a session: frames go out as they come and are
// answered in any order.
type line struct {
	stream sessionStream
	over   chan struct{} // closed when nothing is answered any more

	sending sync.Mutex // a stream takes one Send at a time
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *reply // nil: nobody waits any more
	broken  bool
	why     error // it broke
}

func newLine(stream sessionStream) *line {
	return &line{stream: stream, over: make(chan struct{}), waiting: map[uint64]chan *reply{}}
}

// ask sends a frame and waits for its answer. It is not carried where the line
// is full, or broke before the answer came: the daemon may have heard it or
// not. Its error is that of a caller who gave up.
func (l *line) ask(ctx context.Context, f *frame) (answer *reply, carried bool, err error) {
	said := make(chan *reply, 1)
	if !l.admit(f, said) || l.send(f) != nil {
		return nil, false, nil
	}
	select {
	case answer, carried = <-said:
		return answer, carried, nil
	case <-ctx.Done():
		if l.giveUp(f.GetSeq()) {
			return nil, true, ctx.Err()
		}
		answer, carried = <-said // it came in the same moment
		return answer, carried, nil
	}
}

func (l *line) admit(f *frame, said chan *reply) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken || len(l.waiting) >= maxFrames {
		return false
	}
	l.last++
	f.Seq = l.last
	l.waiting[f.Seq] = said
	return true
}

// send's error needs no handling of its own: listen sees that the stream broke,
// and closes what waits.
func (l *line) send(f *frame) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.stream.Send(f)
}

// giveUp reports whether the answer is still to come. It keeps its place until
// then.
func (l *line) giveUp(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	said, expected := l.waiting[seq]
	if expected && said != nil {
		l.waiting[seq] = nil
	}
	return expected
}

// listen hands out answers until the stream ends, and returns why it did.
func (l *line) listen() error {
	for {
		answer, err := l.stream.Recv()
		if err != nil {
			l.hangUp(err)
			return err
		}
		l.mu.Lock()
		said, expected := l.waiting[answer.GetSeq()]
		delete(l.waiting, answer.GetSeq())
		l.mu.Unlock()
		switch {
		case said != nil:
			said <- answer
		case expected:
			l.dispose(answer)
		}
	}
}

// dispose gives a lease back whose caller gave up before it came.
func (l *line) dispose(answer *reply) {
	token := answer.GetAcquire().GetLease().GetToken()
	if token == nil {
		return
	}
	f := &frame{Request: &payloadv1.SessionRequest_Release{Release: &payloadv1.ReleaseRequest{Token: token}}}
	if l.admit(f, nil) {
		_ = l.send(f) // if it cannot be sent, the lease runs out
	}
}

// hangUp lets go of everybody who waits.
func (l *line) hangUp(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken, l.why = true, why
	for _, said := range l.waiting {
		if said != nil {
			close(said)
		}
	}
	l.waiting = nil
	close(l.over)
}

// bye says that nothing more will be asked, waits for the daemon's last word
// and reports whether it came.
func (l *line) bye() bool {
	l.sending.Lock()
	err := l.stream.CloseSend()
	l.sending.Unlock()
	if err != nil {
		return false
	}
	patience := time.NewTimer(goodbye)
	defer patience.Stop()
	select {
	case <-l.over:
	case <-patience.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why == io.EOF
}

// givenUp is the error of a caller whose context ended.
func givenUp(err error) *payload.Error {
	if err == context.DeadlineExceeded {
		return payload.Errorf(payload.Unavailable, "no answer came in time: %w", err)
	}
	return payload.Errorf(payload.Unavailable, "the call was given up: %w", err)
}
