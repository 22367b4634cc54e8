package sdk_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A host keeps one payload for real: in sealable memory that its data door
// hands out, or behind an HTTP server.
type host struct {
	*daemon
	id     payload.ID
	tier   payloadv1.Tier
	memory *os.File
	size   int64
	sum    string // as committed

	stored   sync.Map // part → bytes
	storage  *httptest.Server
	commits  []*payloadv1.CommitRequest
	aborted  int
	released int
	problem  error // of the next commit
}

func newHost(t *testing.T, tier payloadv1.Tier) *host {
	t.Helper()
	h := &host{daemon: &daemon{}, id: newID(t), tier: tier}
	h.daemon.allocate, h.daemon.commit, h.daemon.abort = h.allocated, h.committed, h.givenUp
	h.daemon.acquire, h.daemon.release = h.acquired, h.gone
	t.Cleanup(func() { h.memory.Close() }) // after everything that uses it; there may be none
	h.serve(t)
	h.openDoor(t)
	h.storage = httptest.NewServer(http.HandlerFunc(h.object))
	t.Cleanup(h.storage.Close)
	return h
}

func (h *host) record() *payloadv1.Payload {
	return &payloadv1.Payload{Id: h.id.String(), Namespace: "default", Size: h.size, Checksum: h.sum}
}

func (h *host) allocated(r *payloadv1.AllocateRequest) (*payloadv1.AllocateResponse, error) {
	h.size = r.GetSize()
	answer := &payloadv1.AllocateResponse{Payload: h.record(), WriteToken: []byte("write")}
	if h.tier == payloadv1.Tier_TIER_OBJECT {
		half := h.size / 2
		answer.Parts = []*payloadv1.UploadPart{
			{Offset: 0, Size: half, Url: h.storage.URL + "/0"},
			{Offset: half, Size: h.size - half, Url: h.storage.URL + "/1"},
		}
		return answer, nil
	}
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	h.memory = os.NewFile(uintptr(fd), "payload")
	return answer, h.memory.Truncate(h.size)
}

// committed seals, which the kernel refuses while a writable mapping lives.
func (h *host) committed(r *payloadv1.CommitRequest) (*payloadv1.CommitResponse, error) {
	h.commits = append(h.commits, r)
	if err := h.problem; err != nil {
		h.problem = nil
		return nil, err
	}
	if h.memory != nil {
		if _, err := unix.FcntlInt(h.memory.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
			return nil, refusal(codes.FailedPrecondition, "still mapped", info("STILL_MAPPED", map[string]string{"code": "BUSY"}))
		}
	}
	h.sum = r.GetChecksum()
	return &payloadv1.CommitResponse{Payload: h.record()}, nil
}

func (h *host) givenUp(*payloadv1.AbortRequest) (*payloadv1.AbortResponse, error) {
	h.aborted++
	return &payloadv1.AbortResponse{Payload: h.record()}, nil
}

func (h *host) acquired(r *payloadv1.AcquireRequest) (*payloadv1.AcquireResponse, error) {
	at := &payloadv1.PlacementDescriptor{Id: r.GetId(), Tier: h.tier, Size: h.size, Checksum: h.sum}
	if h.tier == payloadv1.Tier_TIER_OBJECT {
		at.Url = h.storage.URL + "/whole"
	}
	return &payloadv1.AcquireResponse{Lease: &payloadv1.Lease{At: at, Remaining: durationpb.New(time.Hour), Token: []byte("read")}}, nil
}

func (h *host) gone(*payloadv1.ReleaseRequest) (*payloadv1.ReleaseResponse, error) {
	h.released++
	return &payloadv1.ReleaseResponse{}, nil
}

// object stores what is PUT and serves the parts as one.
func (h *host) object(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h.stored.Store(r.URL.Path, body)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append(slices.Clone(h.part("/0")), h.part("/1")...)))
}

func (h *host) part(path string) []byte {
	part, _ := h.stored.Load(path)
	return part.([]byte)
}

// openDoor serves the data door's protocol: "write" opens the memory for
// writing, "read" for reading.
func (h *host) openDoor(t *testing.T) {
	t.Helper()
	door, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(h.folder, "door.sock"), Net: "unixpacket"})
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := door.AcceptUnix()
			if err != nil {
				return
			}
			all.Go(func() { h.answer(conn) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, door.Close())
		all.Wait()
	})
}

// answer goes on until the client hangs up.
func (h *host) answer(conn *net.UnixConn) {
	defer conn.Close()
	frame := make([]byte, 4096)
	for {
		n, err := conn.Read(frame)
		var request payloadv1.OpenRequest
		if err != nil || proto.Unmarshal(frame[:n], &request) != nil {
			return
		}
		if err := h.trade(conn, string(request.GetToken())); err != nil {
			return
		}
	}
}

// trade sends a descriptor for a token, and keeps no copy.
func (h *host) trade(conn *net.UnixConn, token string) error {
	if h.memory == nil {
		return send(conn, &payloadv1.OpenResponse{Error: &payloadv1.ItemError{Reason: "EXPIRED", Message: "the token is past its time"}}, nil)
	}
	mode := map[string]int{"write": os.O_RDWR, "read": os.O_RDONLY}
	file, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", h.memory.Fd()), mode[token], 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return send(conn, &payloadv1.OpenResponse{Size: h.size, Writable: token == "write"}, unix.UnixRights(int(file.Fd())))
}

func send(conn *net.UnixConn, response *payloadv1.OpenResponse, rights []byte) error {
	frame, err := proto.Marshal(response)
	if len(frame) == 0 {
		frame = protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 0) // offset 0: a packet without bytes carries nothing
	}
	if err == nil {
		_, _, err = conn.WriteMsgUnix(frame, rights, nil)
	}
	return err
}
