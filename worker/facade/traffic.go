package facade

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// traffic counts the bytes of all messages, in and out, as they crossed the
// wire. It is what shows that no payload's bytes ever did.
type traffic struct{ total atomic.Int64 }

var _ stats.Handler = (*traffic)(nil)

func (t *traffic) bytes() int64 { return t.total.Load() }

// HandleRPC implements stats.Handler.
func (t *traffic) HandleRPC(_ context.Context, event stats.RPCStats) {
	switch e := event.(type) {
	case *stats.InPayload:
		t.total.Add(int64(e.WireLength))
	case *stats.OutPayload:
		t.total.Add(int64(e.WireLength))
	}
}

// TagRPC implements stats.Handler.
func (t *traffic) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements stats.Handler.
func (t *traffic) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (t *traffic) HandleConn(context.Context, stats.ConnStats) {}
