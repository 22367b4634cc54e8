package sdk_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A daemon is the far side of the wire, with answers that each test writes down
// itself. The whole on a real one is tested in e2e.
type daemon struct {
	payloadv1.UnimplementedPayloadServiceServer
	payloadv1.UnimplementedLeaseServiceServer

	allocate func(*payloadv1.AllocateRequest) (*payloadv1.AllocateResponse, error)
	commit   func(*payloadv1.CommitRequest) (*payloadv1.CommitResponse, error)
	abort    func(*payloadv1.AbortRequest) (*payloadv1.AbortResponse, error)

	get     func(*payloadv1.GetRequest) (*payloadv1.GetResponse, error)
	list    func(*payloadv1.ListRequest) (*payloadv1.ListResponse, error)
	remove  func(*payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error)
	resolve func(context.Context) (*payloadv1.ResolveResponse, error)
	acquire func(*payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error)
	renew   func(*payloadv1.RenewRequest) (*payloadv1.RenewResponse, error)
	release func(*payloadv1.ReleaseRequest) (*payloadv1.ReleaseResponse, error)
	session func(sessionServer) error // nil: it knows no sessions

	folder string

	mu    sync.Mutex
	conns []net.Conn
}

func (d *daemon) Allocate(_ context.Context, r *payloadv1.AllocateRequest) (*payloadv1.AllocateResponse, error) {
	return d.allocate(r)
}

func (d *daemon) Commit(_ context.Context, r *payloadv1.CommitRequest) (*payloadv1.CommitResponse, error) {
	return d.commit(r)
}

func (d *daemon) Abort(_ context.Context, r *payloadv1.AbortRequest) (*payloadv1.AbortResponse, error) {
	return d.abort(r)
}

func (d *daemon) Get(_ context.Context, r *payloadv1.GetRequest) (*payloadv1.GetResponse, error) {
	return d.get(r)
}

func (d *daemon) List(_ context.Context, r *payloadv1.ListRequest) (*payloadv1.ListResponse, error) {
	return d.list(r)
}

func (d *daemon) Delete(_ context.Context, r *payloadv1.DeleteRequest) (*payloadv1.DeleteResponse, error) {
	return d.remove(r)
}

func (d *daemon) Resolve(ctx context.Context, _ *payloadv1.ResolveRequest) (*payloadv1.ResolveResponse, error) {
	return d.resolve(ctx)
}

func (d *daemon) Acquire(_ context.Context, r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) {
	return d.acquire(r)
}

func (d *daemon) Renew(_ context.Context, r *payloadv1.RenewRequest) (*payloadv1.RenewResponse, error) {
	return d.renew(r)
}

func (d *daemon) Release(_ context.Context, r *payloadv1.ReleaseRequest) (*payloadv1.ReleaseResponse, error) {
	return d.release(r)
}

type sessionServer = grpc.BidiStreamingServer[payloadv1.SessionRequest, payloadv1.SessionResponse]

func (d *daemon) Session(s sessionServer) error {
	if d.session == nil {
		return d.UnimplementedLeaseServiceServer.Session(s)
	}
	return d.session(s)
}

// serve listens until the test ends.
func (d *daemon) serve(t *testing.T) *daemon {
	t.Helper()
	d.folder = t.TempDir()
	listener, err := net.Listen("unix", d.socket())
	require.NoError(t, err)
	server := grpc.NewServer()
	payloadv1.RegisterPayloadServiceServer(server, d)
	payloadv1.RegisterLeaseServiceServer(server, d)
	served := make(chan error, 1)
	go func() { served <- server.Serve(&noting{listener, d}) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.folder, "api.sock") }

func (d *daemon) dial(t *testing.T, options ...sdk.Option) *sdk.Client {
	t.Helper()
	client, err := sdk.Dial(t.Context(), d.socket(), options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// drop breaks every connection that stands.
func (d *daemon) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.Close()
	}
	d.conns = nil
}

// noting keeps the connections for drop.
type noting struct {
	net.Listener
	daemon *daemon
}

func (l *noting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.daemon.mu.Lock()
		l.daemon.conns = append(l.daemon.conns, conn)
		l.daemon.mu.Unlock()
	}
	return conn, err
}

// refusal is a status as a daemon writes it.
func refusal(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	s, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func info(reason string, facts map[string]string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Domain: "payload-manager", Reason: reason, Metadata: facts}
}

func newID(t *testing.T) payload.ID {
	t.Helper()
	id, err := payload.NewID()
	require.NoError(t, err)
	return id
}
