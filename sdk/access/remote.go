package access

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Remote is a [Reader] of an object, by ranged requests. ReadAt asks the
// storage each time, until Bytes has fetched the whole into memory.
type Remote struct {
	storage *Storage
	size    int64
	want    payload.Checksum
	ctx     context.Context // ends with Close: ReadAt has none of its own
	cancel  context.CancelFunc

	mu  sync.RWMutex
	url string

	fetching chan struct{} // holds one element while somebody fetches
	loaded   *Mapping      // guarded by mu; nil before Bytes and after Close
}

// Reader reads the object at url. Its Bytes compare with want, where it is
// known.
func (s *Storage) Reader(url string, size int64, want payload.Checksum) *Remote {
	r := &Remote{storage: s, url: url, size: size, want: want, fetching: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Use replaces the URL by the one that a renewed lease came with.
func (r *Remote) Use(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url = url
}

// Size is the object's, in bytes.
func (r *Remote) Size() int64 { return r.size }

// Bytes fetches the object once, several pieces at a time, and verifies it.
// After an error it may be called again.
func (r *Remote) Bytes(ctx context.Context) ([]byte, error) {
	bytes, err := r.bytes(ctx)
	return bytes, payload.Wrap("read", payload.ID{}, err)
}

func (r *Remote) bytes(ctx context.Context) ([]byte, error) {
	select {
	case r.fetching <- struct{}{}:
		defer func() { <-r.fetching }()
	case <-ctx.Done():
		return nil, silent(ctx)
	}
	if r.ctx.Err() != nil {
		return nil, closed()
	}
	if m := r.memory(); m != nil {
		return m.Bytes(), nil
	}
	m, err := memory(r.size)
	if err != nil {
		return nil, err
	}
	if err := r.load(ctx, m); err != nil {
		m.Close()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = m
	return m.Bytes(), nil
}

// memory is where the whole object is, once it was fetched.
func (r *Remote) memory() *Mapping {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.loaded
}

func (r *Remote) load(ctx context.Context, m *Mapping) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	group, fetchCtx := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	bytes := m.Bytes()
	for offset := int64(0); offset < r.size; offset += piece {
		group.Go(func() error { return r.fetch(fetchCtx, bytes[offset:min(offset+piece, r.size)], offset) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return verify(bytes, r.want)
}

// ReadAt copies a range, as io.ReaderAt says. Close breaks it off.
func (r *Remote) ReadAt(p []byte, offset int64) (int, error) {
	if m := r.memory(); m != nil {
		return m.ReadAt(p, offset)
	}
	switch {
	case r.ctx.Err() != nil:
		return 0, closed()
	case offset < 0:
		return 0, negative()
	case offset >= r.size:
		return 0, io.EOF
	}
	n := min(int64(len(p)), r.size-offset)
	if err := r.fetch(r.ctx, p[:n], offset); err != nil {
		return 0, payload.Wrap("read", payload.ID{}, err)
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// fetch fills p from the offset.
func (r *Remote) fetch(ctx context.Context, p []byte, offset int64) error {
	if len(p) == 0 {
		return nil
	}
	return persist(ctx, func(ctx context.Context) error { return r.get(ctx, p, offset) })
}

func (r *Remote) get(ctx context.Context, p []byte, offset int64) error {
	ctx, cancel := patient(ctx, int64(len(p)))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.address(), nil)
	if err != nil {
		return unreadable()
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+int64(len(p))-1))
	response, err := r.storage.send(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if whole := offset == 0 && int64(len(p)) == r.size; response.StatusCode != http.StatusPartialContent && !whole {
		return payload.Errorf(payload.Unsupported, "the object storage serves no ranges")
	}
	if _, err := io.ReadFull(response.Body, p); err != nil {
		return silent(ctx)
	}
	return nil
}

func (r *Remote) address() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.url
}

// Close breaks off what is under way and frees the memory of Bytes.
func (r *Remote) Close() error {
	r.cancel()
	r.fetching <- struct{}{} // nobody is between fetching and keeping
	defer func() { <-r.fetching }()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded == nil {
		return nil
	}
	err := r.loaded.Close()
	r.loaded = nil
	return err
}
