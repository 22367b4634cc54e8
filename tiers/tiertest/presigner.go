package tiertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

func runPresigner(t *testing.T, open Open) {
	for _, size := range Sizes() {
		t.Run(fmt.Sprintf("a client uploads and downloads %d bytes", size), func(t *testing.T) { overHTTP(t, open(t, 0), size) })
	}
	t.Run("a part that never came", func(t *testing.T) { missingPart(t, open(t, 0)) })
	t.Run("a part that is short", func(t *testing.T) { shortPart(t, open(t, 0)) })
	t.Run("a part beyond the end", func(t *testing.T) { tooMany(t, open(t, 0)) })
	t.Run("an URL after its time", func(t *testing.T) { urlAfterSeal(t, open(t, 0)) })
	t.Run("an URL only at its time", func(t *testing.T) { urlInTime(t, open(t, 0)) })
}

func overHTTP(t *testing.T, tier tiers.Tier, size int64) {
	location, want := Create(t, tier, size), Bytes(size, 7)
	for _, part := range presign(t, tier, location, size) {
		require.Equal(t, http.StatusOK, put(t, part.URL, want[part.Offset:part.Offset+part.Size]))
	}
	require.NoError(t, tier.Seal(t.Context(), location))

	url, err := tier.(tiers.Presigner).PresignRead(t.Context(), location, time.Minute)
	require.NoError(t, err)
	status, got := get(t, url, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, payload.Sum(want), payload.Sum(got))
	require.Equal(t, payload.Sum(want), payload.Sum(Read(t, tier, location)))
	if size > 10 {
		status, got = get(t, url, "bytes=3-9")
		require.Equal(t, http.StatusPartialContent, status)
		require.Equal(t, want[3:10], got)
	}
}

func missingPart(t *testing.T, tier tiers.Tier) {
	const size = 2*tiers.PieceSize + 1
	location, want := Create(t, tier, size), Bytes(size, 8)
	parts := presign(t, tier, location, size)
	for _, at := range []int{0, 2} {
		p := parts[at]
		require.Equal(t, http.StatusOK, put(t, p.URL, want[p.Offset:p.Offset+p.Size]))
	}
	Refused(t, payload.Invalid, tier.Seal(t.Context(), location))
	p := parts[1]
	require.Equal(t, http.StatusOK, put(t, p.URL, want[p.Offset:p.Offset+p.Size]))
	require.NoError(t, tier.Seal(t.Context(), location), "once the part has come")
	require.Equal(t, payload.Sum(want), payload.Sum(Read(t, tier, location)))
}

func shortPart(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 100)
	part := presign(t, tier, location, 100)[0]
	require.Equal(t, http.StatusOK, put(t, part.URL, make([]byte, 99)))
	Refused(t, payload.Invalid, tier.Seal(t.Context(), location))
	require.Equal(t, http.StatusOK, put(t, part.URL, make([]byte, 101)))
	Refused(t, payload.Invalid, tier.Seal(t.Context(), location))
	require.Equal(t, http.StatusOK, put(t, part.URL, make([]byte, 100)), "a part may be sent again")
	require.NoError(t, tier.Seal(t.Context(), location))
}

func tooMany(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 100)
	Refused(t, payload.Invalid, errorOf(tier.(tiers.Presigner).PresignParts(t.Context(), location, 101, time.Minute)))
}

// urlAfterSeal: whatever a producer keeps of its URLs, the object is what was
// sealed.
func urlAfterSeal(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 100)
	part := presign(t, tier, location, 100)[0]
	want := Bytes(100, 9)
	require.Equal(t, http.StatusOK, put(t, part.URL, want))
	require.NoError(t, tier.Seal(t.Context(), location))

	require.NotEqual(t, http.StatusOK, put(t, part.URL, Bytes(100, 10)))
	require.NoError(t, tier.Seal(t.Context(), location))
	require.Equal(t, want, Read(t, tier, location))
	require.Len(t, Walk(t, tier), 1)
}

func urlInTime(t *testing.T, tier tiers.Tier) {
	ctx, presigner := t.Context(), tier.(tiers.Presigner)
	location := Create(t, tier, 100)
	Refused(t, payload.Conflict, errorOf(presigner.PresignRead(ctx, location, time.Minute)))
	part := presign(t, tier, location, 100)[0]
	require.Equal(t, http.StatusOK, put(t, part.URL, make([]byte, 100)))
	require.NoError(t, tier.Seal(ctx, location))
	Refused(t, payload.Conflict, errorOf(presigner.PresignParts(ctx, location, 100, time.Minute)))

	require.NoError(t, tier.Remove(ctx, location))
	Refused(t, payload.NotFound, errorOf(presigner.PresignRead(ctx, location, time.Minute)))
	Refused(t, payload.NotFound, errorOf(presigner.PresignParts(ctx, location, 100, time.Minute)))
}

func presign(t *testing.T, tier tiers.Tier, location string, size int64) []tiers.Part {
	t.Helper()
	parts, err := tier.(tiers.Presigner).PresignParts(t.Context(), location, size, time.Minute)
	require.NoError(t, err)
	pieces := tiers.Pieces(size)
	require.Len(t, parts, len(pieces))
	for i, p := range pieces {
		require.Equal(t, p, tiers.Piece{Offset: parts[i].Offset, Size: parts[i].Size})
	}
	return parts
}

// put and get are what any HTTP client does: no header of S3's is set.
func put(t *testing.T, url string, body []byte) (status int) {
	t.Helper()
	status, _ = exchange(t, http.MethodPut, url, body, "")
	return status
}

func get(t *testing.T, url, span string) (status int, body []byte) {
	t.Helper()
	return exchange(t, http.MethodGet, url, nil, span)
}

func exchange(t *testing.T, method, url string, body []byte, span string) (status int, answer []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	require.NoError(t, err)
	if span != "" {
		request.Header.Set("Range", span)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, answer
}

func errorOf[T any](_ T, err error) error { return err }
