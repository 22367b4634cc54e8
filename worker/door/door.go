package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// An Opener trades tokens for files. *placement.Host is one.
type Opener interface {
	// OpenToken opens what the token stands for. The caller closes the file.
	OpenToken(ctx context.Context, token payload.Token) (placement.Opened, error)
}

const (
	// maxFrame is the longest packet of the protocol, in bytes.
	maxFrame = 4 << 10
	// maxConnections bounds what clients can make the daemon keep. A client
	// process has four at most.
	maxConnections = 1024
	// patience is how long one open, and one answer to a client that does not
	// take it away, may last. Opening takes microseconds, from a disk that is
	// busy milliseconds.
	patience = 5 * time.Second
	// breath is how long a daemon that can accept nobody waits before it tries
	// again.
	breath = 100 * time.Millisecond
)

// A Door answers clients from Listen to Close.
type Door struct {
	listener *net.UnixListener
	opener   Opener
	log      *slog.Logger
	lobby    *lobby
	running  sync.WaitGroup // the accepting, and every visit
}

// Listen makes the door's socket at path, for the daemon's own user alone, and
// answers there until Close. A socket that a killed daemon left behind is
// replaced. Codes: AlreadyExists when somebody answers at it or it is no
// socket, Invalid when the path is too long for one, Unavailable.
func Listen(path string, opener Opener, log *slog.Logger) (*Door, error) {
	listener, err := listen(path)
	if err != nil {
		return nil, payload.Wrap("listen", payload.ID{}, err)
	}
	d := &Door{listener: listener, opener: opener, log: log, lobby: newLobby(maxConnections)}
	d.running.Go(d.accept)
	return d, nil
}

// Close lets no one in any more, finishes the answers that are under way,
// closes every connection and removes the socket. Closing twice is closing
// once.
func (d *Door) Close() error {
	err := d.listener.Close()
	d.lobby.close()
	d.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return payload.Errorf(payload.Internal, "close the data door: %w", reason(err))
	}
	return nil
}

// accept lets clients in until the listener is closed.
func (d *Door) accept() {
	for {
		conn, err := d.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.log.Error("the data door let a client wait", "reason", reason(err))
			d.relieve()
		case !d.lobby.enter(conn):
			conn.Close() // closing time
		default:
			d.running.Go(func() { d.visit(context.Background(), conn) })
		}
	}
}

// relieve gives the system what it ran out of, descriptors or memory: the place
// of a connection that nobody uses, or a moment.
func (d *Door) relieve() {
	if !d.lobby.makeRoom() {
		time.Sleep(breath)
	}
}

// visit answers one client until it leaves or is shown out.
func (d *Door) visit(ctx context.Context, conn *net.UnixConn) {
	defer d.lobby.leave(conn)
	frame := make([]byte, maxFrame+1) // one more, to notice what is too long
	for d.lobby.rest(conn) {
		// Without room for control data the kernel discards descriptors that
		// the client sent.
		n, err := conn.Read(frame)
		if err != nil || !d.lobby.rise(conn) {
			return
		}
		if err := d.serve(ctx, conn, frame[:n]); err != nil {
			d.log.DebugContext(ctx, "a client of the data door went without its answer", "reason", reason(err))
			return
		}
	}
}

// serve answers one frame. Its error means that the connection is of no use.
func (d *Door) serve(ctx context.Context, conn *net.UnixConn, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	opened, err := d.open(ctx, frame)
	if err != nil {
		return answer(conn, &payloadv1.OpenResponse{Error: d.refusal(ctx, err)}, nil)
	}
	defer opened.Close()
	return answer(conn, &payloadv1.OpenResponse{
		Offset: opened.Offset, Size: opened.Size, Writable: opened.Writable,
	}, opened.File)
}

func (d *Door) open(ctx context.Context, frame []byte) (placement.Opened, error) {
	if len(frame) > maxFrame {
		return placement.Opened{}, payload.Errorf(payload.Invalid, "a frame is at most %d bytes", maxFrame)
	}
	var request payloadv1.OpenRequest
	if err := proto.Unmarshal(frame, &request); err != nil {
		return placement.Opened{}, payload.Errorf(payload.Invalid, "the frame is not an OpenRequest")
	}
	return d.opener.OpenToken(ctx, request.GetToken())
}

// answer sends one frame, and file with it unless that is nil. What was sent
// belongs to the client; file is still the caller's to close.
func answer(conn *net.UnixConn, response *payloadv1.OpenResponse, file *os.File) error {
	frame, err := encode(response)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if file == nil {
		_, err = conn.Write(frame)
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	// Control keeps the descriptor from being closed, and leaves its mode alone.
	controlErr := raw.Control(func(fd uintptr) {
		_, _, err = conn.WriteMsgUnix(frame, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(controlErr, err)
}

// encode makes a frame that is never empty, as the answer of zeros to a reader
// of an empty payload would be: a descriptor travels only with a byte, and a
// packet without one is a goodbye.
func encode(response *payloadv1.OpenResponse) ([]byte, error) {
	frame, err := proto.Marshal(response)
	if err == nil && len(frame) == 0 {
		const sizeField = 3
		frame = protowire.AppendVarint(protowire.AppendTag(nil, sizeField, protowire.VarintType), 0)
	}
	return frame, err
}
