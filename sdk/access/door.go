package access

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// maxFrame is the longest packet that the door's protocol allows, in bytes.
const maxFrame = 4 << 10

// lines is how many connections a Door keeps at most. One serves all that is
// usual; more are for opens that wait for a slow disk, so that they do not hold
// up the others.
const lines = 4

// A Door trades tokens for files at one daemon's data door. It connects when
// first needed, keeps its connections, and connects again after the daemon
// restarted. It is safe for concurrent use; one per process is enough.
type Door struct {
	path string
	// Whoever takes a line, connected or not, puts it back.
	connected chan *net.UnixConn
	spare     chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
}

// NewDoor returns the door whose socket is at path. It connects nowhere yet.
func NewDoor(path string) *Door {
	d := &Door{
		path:      path,
		connected: make(chan *net.UnixConn, lines),
		spare:     make(chan struct{}, lines),
		closed:    make(chan struct{}),
	}
	for range lines {
		d.put(nil)
	}
	return d
}

// Open trades a token for the file that it stands for. Codes: those of the
// daemon, such as Denied, Expired and NotFound; Unavailable when it does not
// answer, and when ctx ends before it does.
func (d *Door) Open(ctx context.Context, token payload.Token) (*File, error) {
	file, err := d.open(ctx, token)
	return file, payload.Wrap("open", payload.ID{}, err)
}

func (d *Door) open(ctx context.Context, token payload.Token) (*File, error) {
	frame, err := proto.Marshal(&payloadv1.OpenRequest{Token: token})
	if err != nil {
		return nil, err
	}
	if len(token) == 0 || len(frame) > maxFrame {
		return nil, payload.Errorf(payload.Denied, "this is not a token: allocate or acquire to get one")
	}
	conn, err := d.take(ctx)
	if err != nil {
		return nil, err
	}
	if conn != nil {
		answer, err := exchange(ctx, conn, frame)
		if err == nil {
			d.put(conn)
			return answer.file()
		}
		// The daemon may have restarted, or closed what was idle: a new
		// connection tells. Asking twice opens twice, which harms nothing.
		conn.Close()
	}
	return d.openAnew(ctx, frame)
}

// openAnew asks over a new connection. It puts back the line that open took.
func (d *Door) openAnew(ctx context.Context, frame []byte) (*File, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		d.put(nil)
		return nil, unavailable(ctx)
	}
	answer, err := exchange(ctx, conn, frame)
	if err != nil {
		conn.Close()
		d.put(nil)
		return nil, unavailable(ctx)
	}
	d.put(conn)
	return answer.file()
}

// take returns a line: a connection where one is free, nil where there has to
// be a new one.
func (d *Door) take(ctx context.Context) (*net.UnixConn, error) {
	conn, err := d.line(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-d.closed:
		d.put(conn)
		return nil, payload.Errorf(payload.Unavailable, "the client is closed")
	default:
		return conn, nil
	}
}

func (d *Door) line(ctx context.Context) (*net.UnixConn, error) {
	select {
	case conn := <-d.connected:
		return conn, nil
	default:
	}
	select {
	case conn := <-d.connected:
		return conn, nil
	case <-d.spare:
		return nil, nil
	case <-ctx.Done():
		return nil, unavailable(ctx)
	}
}

func (d *Door) put(conn *net.UnixConn) {
	if conn == nil {
		d.spare <- struct{}{}
		return
	}
	d.connected <- conn
}

func (d *Door) dial(ctx context.Context) (*net.UnixConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", d.path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// Close ends the connections, after the opens that are under way. Files stay
// open. Closing twice is closing once.
func (d *Door) Close() error {
	var errs []error
	d.closeOnce.Do(func() {
		close(d.closed)
		for range lines {
			if conn, _ := d.line(context.Background()); conn != nil {
				errs = append(errs, conn.Close())
			}
		}
		for range lines {
			d.put(nil) // for those who came before the close
		}
	})
	return errors.Join(errs...)
}

// unavailable is what a caller gets whose daemon did not answer.
func unavailable(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return payload.Errorf(payload.Unavailable, "no answer came in time: %w", cause)
	}
	return payload.Errorf(payload.Unavailable, "the daemon's data door does not answer: is the daemon running on this host?").Retry(time.Second)
}

// An answer is one OpenResponse with the descriptors that came with it.
type answer struct {
	response payloadv1.OpenResponse
	received []*os.File
}

// exchange sends one frame and receives its answer. After an error the
// connection is of no use, because its next packet may belong to this request.
func exchange(ctx context.Context, conn *net.UnixConn, frame []byte) (*answer, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // long ago: wakes what waits
	a, err := ask(conn, frame)
	if !stop() && err == nil {
		a.discard()
		err = context.Cause(ctx) // the deadline may yet be set: drop the connection
	}
	return a, err
}

func ask(conn *net.UnixConn, frame []byte) (*answer, error) {
	if _, err := conn.Write(frame); err != nil {
		return nil, err
	}
	buffer, control := make([]byte, maxFrame), make([]byte, unix.CmsgSpace(4))
	n, controlled, flags, _, err := conn.ReadMsgUnix(buffer, control)
	if err != nil {
		return nil, err
	}
	received, err := descriptors(control[:controlled])
	a := &answer{received: received}
	if err == nil {
		err = a.read(buffer[:n], flags)
	}
	if err != nil {
		a.discard()
	}
	return a, err
}

func (a *answer) read(frame []byte, flags int) error {
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(frame) == 0 {
		return errors.New("the answer was cut short")
	}
	return proto.Unmarshal(frame, &a.response)
}

// descriptors takes the files out of a packet's control data. They are closed
// when this process runs another program (MSG_CMSG_CLOEXEC, which package net
// asks for).
func descriptors(control []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "payload"))
		}
	}
	return files, err
}

// file is the one that came with the answer, or the daemon's error.
func (a *answer) file() (*File, error) {
	r := &a.response
	if r.GetError() != nil {
		a.discard()
		return nil, failure(r.GetError())
	}
	if len(a.received) != 1 {
		a.discard()
		return nil, payload.Errorf(payload.Internal, "%d descriptors came where one was due", len(a.received))
	}
	f := &File{file: a.received[0], offset: r.GetOffset(), size: r.GetSize(), writable: r.GetWritable()}
	if err := f.check(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (a *answer) discard() {
	for _, f := range a.received {
		f.Close()
	}
}
