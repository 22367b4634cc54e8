package access_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mebibyte = 1 << 20

// A bucket is an HTTP server that keeps what is PUT and serves ranges of it.
type bucket struct {
	*httptest.Server
	requests atomic.Int64
	broken   atomic.Int64 // so many requests fail with status 503

	mu      sync.Mutex
	objects map[string][]byte
}

func newBucket(t *testing.T) *bucket {
	b := &bucket{objects: map[string][]byte{}}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Server.Close)
	return b
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.requests.Add(1)
	if b.broken.Add(-1) >= 0 {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	switch {
	case r.URL.Query().Get("signature") != "good":
		http.Error(w, "expired", http.StatusForbidden)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		b.put(r.URL.Path, body)
	default:
		b.get(w, r)
	}
}

func (b *bucket) put(path string, object []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[path] = object
}

func (b *bucket) get(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	object, found := b.objects[r.URL.Path]
	b.mu.Unlock()
	if !found {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
}

func (b *bucket) url(path string) string { return b.URL + path + "?signature=good" }

// holding puts random bytes into the bucket.
func (b *bucket) holding(path string, size int) []byte {
	object := noise(size)
	b.put(path, object)
	return object
}

func noise(size int) []byte {
	object := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(object)
	return object
}

func newStorage(t *testing.T) *access.Storage {
	s := access.NewStorage()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func reader(t *testing.T, s *access.Storage, url string, size int, want payload.Checksum) *access.Remote {
	r := s.Reader(url, int64(size), want)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestAnObjectIsReadWholeAndVerified(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	for _, size := range []int{0, 1, 16 * mebibyte, 40*mebibyte + 1} {
		object := b.holding("/o", size)
		r := reader(t, s, b.url("/o"), size, payload.Sum(object))
		got, err := r.Bytes(t.Context())
		require.NoError(t, err)
		require.NotNil(t, got)
		require.True(t, bytes.Equal(object, got))

		before := b.requests.Load()
		again, err := r.Bytes(t.Context())
		require.NoError(t, err)
		require.Len(t, again, size)
		_, err = r.ReadAt(make([]byte, 1), int64(size)/2)
		require.True(t, err == nil || size == 0 && err == io.EOF)
		require.Equal(t, before, b.requests.Load(), "it is in memory by now")
	}
}

func TestRangesOfAnObject(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	object := b.holding("/o", 1000)
	r := reader(t, s, b.url("/o"), 1000, payload.Checksum{})
	for _, try := range []struct {
		offset int64
		length int
		want   int
		err    error
	}{
		{0, 1000, 1000, nil}, {0, 10, 10, nil}, {990, 10, 10, nil}, {999, 1, 1, nil},
		{0, 1001, 1000, io.EOF}, {990, 11, 10, io.EOF}, {1000, 1, 0, io.EOF}, {2000, 1, 0, io.EOF}, {5, 0, 0, nil},
	} {
		p := make([]byte, try.length)
		n, err := r.ReadAt(p, try.offset)
		require.Equal(t, try.err, err, try)
		require.Equal(t, try.want, n, try)
		require.True(t, bytes.Equal(object[min(try.offset, 1000):][:n], p[:n]))
	}
	_, err := r.ReadAt(make([]byte, 1), -1)
	require.ErrorIs(t, err, payload.Invalid)
}

func TestACorruptObjectIsNotServedWhole(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	object := b.holding("/o", 20*mebibyte)
	want := payload.Sum(object)
	object[17*mebibyte] ^= 1
	_, err := reader(t, s, b.url("/o"), len(object), want).Bytes(t.Context())
	require.ErrorIs(t, err, payload.Corrupt)

	unverified, err := reader(t, s, b.url("/o"), len(object), payload.Checksum{}).Bytes(t.Context())
	require.NoError(t, err)
	require.Len(t, unverified, len(object))
}

func TestARenewedURLReplacesTheOldOne(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	object := b.holding("/o", 10)
	r := reader(t, s, b.URL+"/o?signature=old", 10, payload.Sum(object))
	_, err := r.Bytes(t.Context())
	require.ErrorIs(t, err, payload.Expired)
	require.NotContains(t, err.Error(), "signature")

	r.Use(b.url("/o"))
	got, err := r.Bytes(t.Context())
	require.NoError(t, err)
	require.Equal(t, object, got)
}

func TestAStorageThatFailsForAMomentIsAskedAgain(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	object := b.holding("/o", 10)
	b.broken.Store(1)
	got, err := reader(t, s, b.url("/o"), 10, payload.Sum(object)).Bytes(t.Context())
	require.NoError(t, err)
	require.Equal(t, object, got)
	require.EqualValues(t, 2, b.requests.Load())
}

func TestErrorsOfTheStorage(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	ctx, cancel := context.WithCancel(t.Context())
	for url, code := range map[string]payload.Code{
		b.url("/absent"):         payload.NotFound,
		b.URL + "/o?signature=x": payload.Expired,
		"http://[bad":            payload.Invalid,
	} {
		_, err := reader(t, s, url, 10, payload.Checksum{}).Bytes(ctx)
		require.ErrorIs(t, err, code)
		require.NotContains(t, err.Error(), "http")
	}
	cancel()
	b.Server.Close()
	_, err := reader(t, s, b.url("/o"), 10, payload.Checksum{}).Bytes(ctx)
	require.ErrorIs(t, err, payload.Unavailable)
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "127.0.0.1")
}

func TestAStorageWithoutRanges(t *testing.T) {
	whole := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("0123456789")) }))
	defer whole.Close()
	r := reader(t, newStorage(t), whole.URL, 10, payload.Checksum{})
	_, err := r.ReadAt(make([]byte, 2), 4)
	require.ErrorIs(t, err, payload.Unsupported)
	got, err := r.Bytes(t.Context())
	require.NoError(t, err)
	require.Equal(t, "0123456789", string(got))
}

func TestClosingBreaksOffWhatIsUnderWay(t *testing.T) {
	asked, done := make(chan struct{}), make(chan struct{})
	stalled := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		close(done)
	}))
	defer stalled.Close()
	r := newStorage(t).Reader(stalled.URL, 10, payload.Checksum{})
	failed := make(chan error)
	go func() {
		_, err := r.Bytes(context.Background())
		failed <- err
	}()
	<-asked
	require.NoError(t, r.Close())
	require.Error(t, <-failed)
	<-done
	_, err := r.Bytes(t.Context())
	require.ErrorIs(t, err, payload.Invalid)
	_, err = r.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, payload.Invalid)
	require.NoError(t, r.Close(), "twice is once")
}

func TestPartsAreUploadedFromMemory(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	object := noise(5*mebibyte + 3)
	var parts []access.Part
	for i := range 6 {
		size := min(mebibyte, len(object)-i*mebibyte)
		parts = append(parts, access.Part{Offset: int64(i) * mebibyte, Size: int64(size), URL: b.url("/part" + string(rune('0'+i)))})
	}
	upload, err := s.Stage(int64(len(object)), parts)
	require.NoError(t, err)
	defer upload.Close()
	copy(upload.Bytes(), object[:100])
	_, err = upload.WriteAt(object[100:], 100)
	require.NoError(t, err)

	b.broken.Store(1)
	var sent atomic.Int64
	require.NoError(t, upload.Send(t.Context(), func(n int64) { sent.Add(n) }))
	require.EqualValues(t, len(object), sent.Load())
	for _, p := range parts {
		stored := b.objects[strings.TrimSuffix(strings.TrimPrefix(p.URL, b.URL), "?signature=good")]
		require.True(t, bytes.Equal(object[p.Offset:p.Offset+p.Size], stored))
	}
}

func TestAnEmptyObjectHasOnePartOfNoBytes(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	upload, err := s.Stage(0, []access.Part{{URL: b.url("/part")}})
	require.NoError(t, err)
	defer upload.Close()
	require.NoError(t, upload.Send(t.Context(), nil))
	require.Contains(t, b.objects, "/part")
}

func TestPartsHaveToBeThePayload(t *testing.T) {
	s := newStorage(t)
	for _, parts := range [][]access.Part{
		nil,
		{{Size: 9}},
		{{Size: 11}},
		{{Offset: 1, Size: 9}},
		{{Size: 5}, {Offset: 6, Size: 4}},
		{{Size: 11}, {Offset: 11, Size: -1}},
	} {
		_, err := s.Stage(10, parts)
		require.ErrorIs(t, err, payload.Invalid)
	}
}

func TestAnUploadThatIsRefused(t *testing.T) {
	b, s := newBucket(t), newStorage(t)
	upload, err := s.Stage(2, []access.Part{{Size: 1, URL: b.url("/part")}, {Offset: 1, Size: 1, URL: b.URL + "/part"}})
	require.NoError(t, err)
	require.ErrorIs(t, upload.Send(t.Context(), nil), payload.Expired)
	require.NoError(t, upload.Close())
	require.ErrorIs(t, upload.Send(t.Context(), nil), payload.Invalid)
	require.Nil(t, upload.Bytes())
}

func TestMemoryIsGoneAfterClose(t *testing.T) {
	upload, err := newStorage(t).Stage(10, []access.Part{{Size: 10}})
	require.NoError(t, err)
	_, err = upload.WriteAt([]byte("beyond"), 5)
	require.ErrorIs(t, err, payload.Invalid)
	_, err = upload.WriteAt([]byte("before"), -1)
	require.ErrorIs(t, err, payload.Invalid)
	require.NoError(t, upload.Close())
	require.NoError(t, upload.Close(), "twice is once")
	require.Nil(t, upload.Bytes())
	require.Zero(t, upload.Size())
	_, err = upload.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = upload.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestAMappingIsVerifiedWhenItIsReadWhole(t *testing.T) {
	for name, flip := range map[string]byte{"good": 0, "corrupt": 1} {
		upload, err := newStorage(t).Stage(3, []access.Part{{Size: 3}})
		require.NoError(t, err)
		want := payload.Sum([]byte("abc"))
		copy(upload.Bytes(), []byte{'a', 'b', 'c' ^ flip})
		r := upload.Mapping.Reader(want)
		for range 2 { // the second answer is the first
			got, err := r.Bytes(t.Context())
			if name == "good" {
				require.NoError(t, err)
				require.Equal(t, "abc", string(got))
			} else {
				require.ErrorIs(t, err, payload.Corrupt)
			}
		}
		unverified, err := upload.Mapping.Reader(payload.Checksum{}).Bytes(t.Context())
		require.NoError(t, err)
		require.Len(t, unverified, 3)
		require.NoError(t, r.Close())
		_, err = r.Bytes(t.Context())
		require.ErrorIs(t, err, payload.Invalid)
	}
}

func TestReadingAndClosingAtOnceIsSafe(t *testing.T) {
	upload, err := newStorage(t).Stage(mebibyte, []access.Part{{Size: mebibyte}})
	require.NoError(t, err)
	r := upload.Mapping.Reader(payload.Sum(make([]byte, mebibyte)))
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			p := make([]byte, mebibyte)
			for {
				if _, err := r.ReadAt(p, 0); err != nil {
					return // closed
				}
				if _, err := r.Bytes(context.Background()); err != nil {
					return
				}
			}
		})
	}
	require.NoError(t, r.Close())
	readers.Wait()
}

func TestSumsOfPiecesAreTheSumOfTheWhole(t *testing.T) {
	bytes := noise(48*mebibyte + 7)
	for _, size := range []int{0, 1, 16*mebibyte - 1, 16 * mebibyte, 16*mebibyte + 1, len(bytes)} {
		require.Equal(t, payload.Sum(bytes[:size]), access.Sum(bytes[:size]))
	}
}
