package facade

import (
	"context"
	"errors"
	"net"
	"path"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// Sizes of messages. A request is small: the largest are batches of 1000. An
// answer may hold the upload URLs of a payload of 10,000 parts, half a kilobyte
// each.
const (
	maxRequest = 4 << 20
	maxAnswer  = 16 << 20
)

// streamWorkers is how many calls are handled by standing goroutines. Those that
// wait, for a disk or a workflow, are beside many that do not.
const streamWorkers = 128

// A Server serves a Facade over gRPC, with the standard services for health and
// reflection.
type Server struct {
	facade *Facade
	grpc   *grpc.Server
	health *health.Server
}

// NewServer returns a server that listens nowhere yet.
func NewServer(o Options) *Server {
	f := New(o)
	s := &Server{facade: f, grpc: grpc.NewServer(f.options()...), health: health.NewServer()}
	f.Register(s.grpc)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	for service := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	return s
}

// Serve answers the connections of one listener, and closes it. It returns nil
// after Shutdown, and may be called for several listeners at once.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(&lobby{Listener: l, deaths: s.facade.sessions.deaths, log: s.facade.log})
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Shutdown takes no new calls, ends what only waits, sessions included, and
// lets other calls finish. When ctx ends first, they are broken off.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	s.facade.end()
	broken := context.AfterFunc(ctx, s.grpc.Stop)
	defer broken()
	s.grpc.GracefulStop()
	if err := s.facade.Close(); err != nil {
		s.facade.log.Warn("the watch over clients' processes did not end well", "error", err)
	}
}

func (f *Facade) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(doorman{}),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxSendMsgSize(maxAnswer),
		grpc.StatsHandler(&f.traffic),
		// Goroutines that live on have grown their stacks once; a fresh one per
		// call grows it each time, a tenth of what a call costs. When all are
		// busy, calls get fresh ones.
		grpc.NumStreamWorkers(streamWorkers),
		// A client whose machine vanished is noticed within a minute; clients may
		// ask as often as every ten seconds whether we are there.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 40 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(f.statusOfCall, recovery.UnaryServerInterceptor(recovery.WithRecoveryHandler(panicked))),
		grpc.ChainStreamInterceptor(f.statusOfStream, recovery.StreamServerInterceptor(recovery.WithRecoveryHandler(panicked))),
	}
}

func (f *Facade) statusOfCall(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := handle(ctx, r)
	if err != nil {
		return nil, f.status(ctx, operation(info.FullMethod), err)
	}
	return answer, nil
}

func (f *Facade) statusOfStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := handle(srv, stream); err != nil {
		return f.status(stream.Context(), operation(info.FullMethod), err)
	}
	return nil
}

// operation is a method's name as errors write it: "allocate".
func operation(method string) string { return strings.ToLower(path.Base(method)) }
