package sdk_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

const (
	ram    = payloadv1.Tier_TIER_RAM
	disk   = payloadv1.Tier_TIER_DISK
	object = payloadv1.Tier_TIER_OBJECT
)

// frame is bytes that no other test has, more than two pieces of a sum.
func frame(t *testing.T, size int) []byte {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("bytes of seed %d", seed)
	content := make([]byte, size)
	_, err := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(content)
	require.NoError(t, err)
	return content
}

func TestBytesAreWrittenAndReadInTheSameMemory(t *testing.T) {
	content := frame(t, 33<<20+7)
	h := newHost(t, ram)
	client := h.dial(t)

	writer, err := client.Allocate(t.Context(), int64(len(content)), sdk.WithName("frame 17"))
	require.NoError(t, err)
	require.Equal(t, h.id, writer.ID())
	copy(writer.Bytes(), content)
	p, err := writer.Commit(t.Context())
	require.NoError(t, err, "the kernel seals, so nothing is mapped any more")
	require.Equal(t, payload.Sum(content), p.Checksum)
	require.Nil(t, writer.Bytes())
	require.NoError(t, writer.Abort(t.Context()), "which has nothing to do after a commit")
	require.Zero(t, h.aborted)

	reader, err := client.Open(t.Context(), p.ID)
	require.NoError(t, err)
	got, err := reader.Bytes()
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	require.EqualValues(t, len(content), reader.Size())
	part := make([]byte, 10)
	n, err := reader.ReadAt(part, int64(len(content)-7))
	require.Equal(t, io.EOF, err)
	require.Equal(t, content[len(content)-7:], part[:n])
	require.NoError(t, reader.Close())
	require.Equal(t, 1, h.released)
}

func TestBytesOfAnObjectAreSentInPartsAndFetchedInRanges(t *testing.T) {
	content := frame(t, 20<<20)
	h := newHost(t, object)
	client := h.dial(t)
	told := make(chan int64, 2)

	p, err := client.Put(t.Context(), bytes.NewReader(content), int64(len(content)),
		sdk.WithTier(payload.Object), sdk.WithProgress(func(n int64) { told <- n }))
	require.NoError(t, err)
	require.Equal(t, payload.Sum(content), p.Checksum)
	require.EqualValues(t, len(content), <-told+<-told)

	reader, err := client.Open(t.Context(), p.ID)
	require.NoError(t, err)
	defer reader.Close()
	part := make([]byte, 100)
	_, err = reader.ReadAt(part, 1000)
	require.NoError(t, err)
	require.Equal(t, content[1000:1100], part)
	got, err := reader.Bytes()
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
}

func TestWhatWasStoredIsComparedWithItsChecksum(t *testing.T) {
	h := newHost(t, disk)
	client := h.dial(t)
	_, err := client.Put(t.Context(), strings.NewReader("four"), 4)
	require.NoError(t, err)
	h.sum = payload.CRC32C(1).String() // the disk remembers other bytes

	reader, err := client.Open(t.Context(), h.id)
	require.NoError(t, err)
	defer reader.Close()
	_, err = reader.Bytes()
	require.ErrorIs(t, err, payload.Corrupt)
	require.ErrorContains(t, err, h.id.String())

	trusting, err := client.Open(t.Context(), h.id, sdk.Unverified())
	require.NoError(t, err)
	defer trusting.Close()
	got, err := trusting.Bytes()
	require.NoError(t, err)
	require.Equal(t, "four", string(got))
}

func TestWritesFollowEachOther(t *testing.T) {
	h := newHost(t, ram)
	writer, err := h.dial(t).Allocate(t.Context(), 8)
	require.NoError(t, err)
	require.EqualValues(t, 8, writer.Size())

	_, err = io.WriteString(writer, "one ")
	require.NoError(t, err)
	_, err = writer.WriteAt([]byte("O"), 0)
	require.NoError(t, err)
	_, err = io.WriteString(writer, "two")
	require.NoError(t, err)
	_, err = io.WriteString(writer, "three")
	require.ErrorIs(t, err, payload.Invalid)

	require.Equal(t, "One two\x00", string(writer.Bytes()))
	require.NoError(t, writer.Abort(t.Context()))
	require.Equal(t, 1, h.aborted)
	_, err = writer.Commit(t.Context())
	require.ErrorIs(t, err, payload.Invalid)
	require.Empty(t, h.commits)
}

func TestACommitThatFailedCanBeRepeated(t *testing.T) {
	h := newHost(t, ram)
	writer, err := h.dial(t).Allocate(t.Context(), 3)
	require.NoError(t, err)
	copy(writer.Bytes(), "abc")
	h.problem = refusal(codes.Unavailable, "the catalog does not answer", info("UNAVAILABLE", map[string]string{"code": "UNAVAILABLE"}))

	_, err = writer.Commit(t.Context())
	require.ErrorIs(t, err, payload.Unavailable)
	p, err := writer.Commit(t.Context())

	require.NoError(t, err)
	require.Equal(t, payload.Sum([]byte("abc")), p.Checksum)
	require.Len(t, h.commits, 2)
	require.Equal(t, h.commits[0].GetRequestId(), h.commits[1].GetRequestId(), "one commit, whoever repeats it")
}

func TestAnEmptyPayload(t *testing.T) {
	for _, tier := range []payloadv1.Tier{ram, disk, object} {
		h := newHost(t, tier)
		client := h.dial(t)
		p, err := client.Put(t.Context(), strings.NewReader(""), 0)
		require.NoError(t, err, tier)
		require.Equal(t, payload.Sum(nil), p.Checksum)

		reader, err := client.Open(t.Context(), p.ID)
		require.NoError(t, err, tier)
		got, err := reader.Bytes()
		require.NoError(t, err, tier)
		require.Empty(t, got)
		require.NoError(t, reader.Close())
	}
}

func TestAnInputThatEndsEarlyLeavesNothing(t *testing.T) {
	h := newHost(t, ram)
	_, err := h.dial(t).Put(t.Context(), strings.NewReader("short"), 10)
	require.ErrorIs(t, err, payload.Invalid)
	require.ErrorContains(t, err, "5 bytes before")
	require.Equal(t, 1, h.aborted)
}

func TestWhatCannotBeOpenedIsGivenBack(t *testing.T) {
	h := newHost(t, ram)
	elsewhere := sdk.DoorAt(filepath.Join(t.TempDir(), "door.sock"))
	client := h.dial(t, elsewhere)

	_, err := client.Allocate(t.Context(), 1)
	require.ErrorIs(t, err, payload.Unavailable)
	require.Equal(t, 1, h.aborted)

	_, err = client.Open(t.Context(), h.id)
	require.ErrorIs(t, err, payload.Unavailable)
	require.Equal(t, 1, h.released)

	h.tier = payloadv1.Tier_TIER_GPU
	_, err = client.Open(t.Context(), h.id)
	require.ErrorIs(t, err, payload.Unsupported)
	require.Equal(t, 2, h.released)
}

func TestATokenPastItsTime(t *testing.T) {
	h := newHost(t, ram)
	_, err := h.dial(t).Open(t.Context(), h.id)
	require.ErrorIs(t, err, payload.Expired)
	require.Equal(t, 1, h.released)
}
