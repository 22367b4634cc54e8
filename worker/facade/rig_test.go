package facade_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/catalog/memory"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/worker/door"
	"github.com/payload-manager/payload-manager/worker/facade"
)

const mebibyte = 1 << 20

// A rig is a façade and a data door on Unix sockets before one host's real
// memory and disk, and a client of it. Its wall clock is the test's to move.
type rig struct {
	t       testing.TB
	socket  string
	line    *line // that clients come in by
	host    *placement.Host
	catalog *catalog.Catalog
	mover   *mover
	server  *facade.Server
	log     strings.Builder
	conn    *grpc.ClientConn

	life  payloadv1.PayloadServiceClient
	lease payloadv1.LeaseServiceClient
	move  payloadv1.PlacementServiceClient
	admin payloadv1.AdminServiceClient

	mu   sync.Mutex
	wall time.Time
}

func newRig(t testing.TB, change ...func(*facade.Options)) *rig {
	r := &rig{t: t, wall: time.Unix(1_800_000_000, 0)}
	r.catalog = catalog.New(memory.New(), r.now)
	files, err := disk.Open(disk.Options{Dir: t.TempDir(), Capacity: 64 * mebibyte})
	require.NoError(t, err)
	set := tiers.NewSet(ram.New(ram.Options{Capacity: 64 * mebibyte}), files)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	table := leases.New(leases.Boottime)
	t.Cleanup(table.Stop)
	r.host = placement.New(placement.Options{
		Name: "alpha", Catalog: r.catalog, Leases: table, Tiers: set, Key: []byte("a key of thirty-two bytes length"),
	})
	t.Cleanup(func() { require.NoError(t, r.host.Close()) })
	require.NoError(t, r.host.Start(t.Context()))
	r.mover = &mover{host: r.host}
	dir, err := os.MkdirTemp("", "facade") // short: a socket's path is
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	r.socket = filepath.Join(dir, "api.sock")
	r.openDoor(filepath.Join(dir, "door.sock"))
	r.serve(change...)
	r.dial()
	return r
}

func (r *rig) openDoor(path string) {
	d, err := door.Listen(path, r.host, slog.New(slog.DiscardHandler))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, d.Close()) })
}

func (r *rig) serve(change ...func(*facade.Options)) {
	options := facade.Options{
		Host: r.host, Catalog: r.catalog, Mover: r.mover,
		Lag:        func(context.Context) (int, time.Duration, error) { return 3, time.Second, nil },
		WorkflowID: func(p payload.Payload) string { return "payload:" + p.Namespace + ":" + p.ID.String() },
		TemporalUI: "http://localhost:8233",
		Log:        slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	for _, c := range change {
		c(&options)
	}
	server := facade.NewServer(options)
	listener, err := net.Listen("unix", r.socket)
	require.NoError(r.t, err)
	r.server, r.line = server, &line{Listener: listener, open: map[net.Conn]bool{}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(r.line) }()
	r.t.Cleanup(func() {
		server.Shutdown(context.Background())
		require.NoError(r.t, <-served)
	})
}

func (r *rig) dial() {
	var err error
	r.conn, err = grpc.NewClient("unix:"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = r.conn.Close() })
	r.life = payloadv1.NewPayloadServiceClient(r.conn)
	r.lease = payloadv1.NewLeaseServiceClient(r.conn)
	r.move = payloadv1.NewPlacementServiceClient(r.conn)
	r.admin = payloadv1.NewAdminServiceClient(r.conn)
}

// A line is a listener whose connections can be cut.
type line struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (l *line) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[conn] = true
	return conn, nil
}

// cut breaks every connection, as a network does: no side says goodbye.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		_ = conn.Close()
	}
	clear(l.open)
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wall
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wall = r.wall.Add(d)
}

func (r *rig) allocate(ask *payloadv1.AllocateRequest) *payloadv1.AllocateResponse {
	r.t.Helper()
	answer, err := r.life.Allocate(r.t.Context(), ask)
	require.NoError(r.t, err)
	return answer
}

// write is what a producer does through the data door.
func (r *rig) write(token []byte, content []byte) {
	r.t.Helper()
	opened, err := r.host.OpenToken(r.t.Context(), token)
	require.NoError(r.t, err)
	_, err = opened.File.WriteAt(content, opened.Offset)
	require.NoError(r.t, err)
	require.NoError(r.t, opened.Close())
}

// put carries content to an active payload.
func (r *rig) put(content []byte, ask *payloadv1.AllocateRequest) *payloadv1.Payload {
	r.t.Helper()
	ask.Size = int64(len(content))
	room := r.allocate(ask)
	r.write(room.GetWriteToken(), content)
	done, err := r.life.Commit(r.t.Context(), &payloadv1.CommitRequest{Id: room.GetPayload().GetId(), Checksum: payload.Sum(content).String()})
	require.NoError(r.t, err)
	return done.GetPayload()
}

func (r *rig) acquire(ask *payloadv1.AcquireRequest) *payloadv1.Lease {
	r.t.Helper()
	answer, err := r.lease.Acquire(r.t.Context(), ask)
	require.NoError(r.t, err)
	return answer.GetLease()
}

func (r *rig) delete(id string) {
	r.t.Helper()
	answer, err := r.life.Delete(r.t.Context(), &payloadv1.DeleteRequest{Id: id, Wait: true})
	require.NoError(r.t, err)
	require.Equal(r.t, payloadv1.State_STATE_DELETED, answer.GetPayload().GetState())
}

// empty waits until the tiers hold nothing: memory is freed off the request
// path.
func (r *rig) empty() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		stats, err := r.admin.Stats(r.t.Context(), &payloadv1.StatsRequest{})
		require.NoError(r.t, err)
		var left int64
		for _, tier := range stats.GetTiers() {
			left += tier.GetUsed() + tier.GetPlacements()
		}
		return left+stats.GetLeases() == 0
	}, 10*time.Second, time.Millisecond)
}

// A mover carries moves out with the steps that a lifecycle's activities take,
// one after the other and with no workflow around them.
type mover struct {
	host *placement.Host
	made atomic.Int64
	down atomic.Bool // as when Temporal is stopped and the caller's time is over
	till atomic.Pointer[time.Time]
	fail atomic.Pointer[func(context.Context) error] // instead of moving
}

func (m *mover) Promote(ctx context.Context, p payload.Payload, to payload.Tier) error {
	if deadline, bounded := ctx.Deadline(); bounded {
		m.till.Store(&deadline)
	}
	if m.down.Load() {
		return payload.Errorf(payload.Unavailable, "lifecycles cannot be reached: %w", context.DeadlineExceeded).Retry(time.Second)
	}
	if fail := m.fail.Load(); fail != nil {
		return (*fail)(ctx)
	}
	m.made.Add(1)
	_, _, err := m.host.Copy(ctx, p.ID, to, nil)
	return err
}

func (m *mover) Spill(ctx context.Context, p payload.Payload, to payload.Tier) error {
	if err := m.Promote(ctx, p, to); err != nil {
		return err
	}
	if _, err := m.host.Retire(ctx, p.ID, to); err != nil {
		return err
	}
	_, err := m.host.Reap(ctx, p.ID)
	return err
}

func content(size int) []byte { return bytes.Repeat([]byte("frame 17"), size/8+1)[:size] }

// A complaint is a status with its details taken apart.
type complaint struct {
	code   codes.Code
	info   *errdetails.ErrorInfo
	field  string
	retry  time.Duration
	unmet  string
	wholly *status.Status
}

func complaintOf(t testing.TB, err error) complaint {
	t.Helper()
	s, ok := status.FromError(err)
	require.True(t, ok, "%v", err)
	c := complaint{code: s.Code(), wholly: s}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			c.info = d
		case *errdetails.BadRequest:
			c.field = d.GetFieldViolations()[0].GetField()
		case *errdetails.RetryInfo:
			c.retry = d.GetRetryDelay().AsDuration()
		case *errdetails.PreconditionFailure:
			c.unmet = d.GetViolations()[0].GetType()
		}
	}
	return c
}

func same(t testing.TB, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

// mapped maps a file as a producer does, and returns how to let go of it.
func mapped(t testing.TB, file *os.File, size int) (letGo func()) {
	t.Helper()
	held, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	return func() { require.NoError(t, unix.Munmap(held)) }
}
