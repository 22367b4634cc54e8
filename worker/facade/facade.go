package facade

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/payload-manager/payload-manager/catalog"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// A Mover has payloads moved between the tiers of this host, and waits until
// the copy is readable or the context ends. Where moves cannot be asked for
// before that, its error has code Unavailable and says when to try again.
type Mover interface {
	Promote(ctx context.Context, p payload.Payload, to payload.Tier) error
	Spill(ctx context.Context, p payload.Payload, to payload.Tier) error
}

// Options are what a Facade is made of. Host, Catalog and Mover are needed.
type Options struct {
	Host    *placement.Host
	Catalog *catalog.Catalog
	Mover   Mover
	// Lag counts the lifecycles that Temporal has not heard of yet, and says how
	// long the oldest of them has waited.
	Lag func(ctx context.Context) (int, time.Duration, error)
	// WorkflowID names the lifecycle that carries a payload.
	WorkflowID func(payload.Payload) string
	TemporalUI string // its address, for people; empty: unknown
	// Remember is how long a session is known that its client does not come back
	// to; 0: as long as the longest lease.
	Remember time.Duration
	Log      *slog.Logger
}

// A Facade implements the services. Its methods may be called concurrently.
type Facade struct {
	host       *placement.Host
	catalog    *catalog.Catalog
	mover      Mover
	lag        func(ctx context.Context) (int, time.Duration, error)
	workflowID func(payload.Payload) string
	temporalUI string
	log        *slog.Logger

	traffic  traffic
	sessions *sessions
	closing  context.Context // ends when clients have to go
	end      context.CancelFunc
}

// New returns the services, not yet served. Close it.
func New(o Options) *Facade {
	f := &Facade{
		host: o.Host, catalog: o.Catalog, mover: o.Mover,
		lag: o.Lag, workflowID: o.WorkflowID, temporalUI: o.TemporalUI, log: o.Log,
	}
	if f.lag == nil {
		f.lag = func(context.Context) (int, time.Duration, error) { return 0, 0, nil }
	}
	if f.workflowID == nil {
		f.workflowID = func(payload.Payload) string { return "" }
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.sessions = newSessions(f.host, o.Remember)
	if deaths, err := awaitDeaths(f.sessions.bury); err != nil {
		f.log.Warn("clients that die go unnoticed: their leases end when they expire", "error", err)
	} else {
		f.sessions.deaths = deaths
	}
	f.closing, f.end = context.WithCancel(context.Background())
	return f
}

// Close forgets the sessions, and ends none of them. Nothing may be served any
// more.
func (f *Facade) Close() error {
	f.end()
	f.sessions.close()
	if f.sessions.deaths == nil {
		return nil
	}
	return f.sessions.deaths.Close()
}

// Register adds the services to a server. Errors leave as statuses only where
// the server was made with the facade's interceptors, as NewServer does.
func (f *Facade) Register(s *grpc.Server) {
	payloadv1.RegisterPayloadServiceServer(s, &lifeService{facade: f})
	payloadv1.RegisterLeaseServiceServer(s, &leaseService{facade: f})
	payloadv1.RegisterPlacementServiceServer(s, &placementService{facade: f})
	payloadv1.RegisterAdminServiceServer(s, &adminService{facade: f})
}

// waiting bounds a call that waits for others: to a little before its caller's
// deadline, so that an answer that says why still arrives, and to the daemon's
// shutdown.
func (f *Facade) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	const margin = 250 * time.Millisecond
	var cancel context.CancelFunc
	if deadline, bounded := ctx.Deadline(); bounded {
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, margin)))
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	stop := context.AfterFunc(f.closing, cancel)
	return ctx, func() { stop(); cancel() }
}
