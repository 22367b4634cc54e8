package sdk

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Client speaks to one daemon. It is safe for concurrent use; one per process
// is enough.
type Client struct {
	address   address
	namespace string
	holder    string
	doorPath  string
	grpc      []grpc.DialOption

	conn   *grpc.ClientConn
	life   life
	leases *session
	moves  payloadv1.PlacementServiceClient
	admin  payloadv1.AdminServiceClient

	door    *access.Door // nil: its path is not known
	storage *access.Storage
	close   func() error // once

	// unreached is set while the newest attempt to connect was a failure.
	unreached atomic.Bool
	// background lends its values, but no end, to calls that outlive the call
	// that caused them, such as renewals.
	background context.Context
}

// An Option says how a Client behaves.
type Option func(*Client)

// InNamespace is where the client allocates and the only place where it sees
// payloads. Without it, it allocates in "default" and sees all.
func InNamespace(name string) Option { return func(c *Client) { c.namespace = name } }

// As names the holder of the client's leases, for people. Without it they are
// held by "program[pid]".
func As(holder string) Option { return func(c *Client) { c.holder = holder } }

// DoorAt is the path of the daemon's data door, where that is not beside the
// daemon's socket.
func DoorAt(path string) Option { return func(c *Client) { c.doorPath = path } }

// WithGRPC adds options to the connection, such as a stats handler.
func WithGRPC(options ...grpc.DialOption) Option {
	return func(c *Client) { c.grpc = append(c.grpc, options...) }
}

// Dial returns a client of the daemon at target: the path of its Unix socket,
// or host:port on loopback. An empty target means PAYLOAD_ADDRESS, else the
// system's or the user's daemon at its well-known path. It connects when first
// needed, so an absent daemon is noticed by the first call. ctx lends its
// values to calls in the background and does not end the client; Close does.
func Dial(ctx context.Context, target string, options ...Option) (*Client, error) {
	at, err := find(target, os.Getenv)
	if err != nil {
		return nil, payload.Wrap("dial", payload.ID{}, err)
	}
	c := &Client{address: at, doorPath: at.door(), holder: program(), background: context.WithoutCancel(ctx)}
	for _, option := range options {
		option(c)
	}
	if err := c.connect(); err != nil {
		return nil, payload.Wrap("dial", payload.ID{}, err)
	}
	return c, nil
}

// maxAnswer is the longest answer of a daemon: an allocation of 10,000 upload
// URLs, half a kilobyte each, with room to spare.
const maxAnswer = 16 << 20 // bytes

// reconnect looks for a daemon that restarts: it is back within a second, and
// asking a local socket costs microseconds.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
	MinConnectTimeout: 5 * time.Second,
}

func (c *Client) connect() (err error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's permissions, or loopback
		grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(c.reach),
		grpc.WithConnectParams(reconnect),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithChainUnaryInterceptor(c.call),
	}, c.grpc...)
	if c.conn, err = grpc.NewClient("passthrough:///daemon", options...); err != nil {
		return payload.Errorf(payload.Invalid, "the connection's options do not fit together: %w", err)
	}
	c.leases = newSession(c, payloadv1.NewLeaseServiceClient(c.conn))
	c.life = life{payloadv1.NewPayloadServiceClient(c.conn), c.leases}
	c.moves = payloadv1.NewPlacementServiceClient(c.conn)
	c.admin = payloadv1.NewAdminServiceClient(c.conn)
	c.storage = access.NewStorage()
	if c.doorPath != "" {
		c.door = access.NewDoor(c.doorPath)
	}
	c.close = sync.OnceValue(c.disconnect)
	return nil
}

// reach connects, and remembers whether it could.
func (c *Client) reach(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, c.address.network, c.address.at)
	c.unreached.Store(err != nil)
	return conn, err
}

// Close ends the client's session and its connections. What it leased or
// allocated and did not release or commit is given back. Writers and Readers
// keep the bytes that they have mapped. Closing twice is closing once.
func (c *Client) Close() error { return c.close() }

func (c *Client) disconnect() error {
	c.leases.close()
	errs := []error{c.conn.Close(), c.storage.Close()}
	if c.door != nil {
		errs = append(errs, c.door.Close())
	}
	return errors.Join(errs...)
}

// openFile trades a token at the data door.
func (c *Client) openFile(ctx context.Context, token payload.Token) (*access.Mapping, error) {
	if c.door == nil {
		return nil, payload.Errorf(payload.Unsupported, "over TCP the daemon's data door is not known: dial its socket, or say where the door is")
	}
	file, err := c.door.Open(ctx, token)
	if err != nil {
		return nil, err
	}
	return file.Map()
}

// newRequest names one request, so that its repeats are recognised.
func newRequest() string { return uuid.NewString() }
