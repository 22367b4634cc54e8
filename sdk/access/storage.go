package access

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Storage reaches object storage by the presigned URLs that the daemon hands
// out. It is safe for concurrent use; one per process is enough, because it
// keeps connections.
type Storage struct{ client *http.Client }

// streams is how many requests one payload has under way: object storage serves
// several streams faster than one, and more of them gain nothing here.
const streams = 4

// NewStorage connects nowhere yet.
func NewStorage() *Storage {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 2 * streams
	transport.ResponseHeaderTimeout = 30 * time.Second // a healthy storage answers in milliseconds
	transport.DisableCompression = true                // bytes and ranges are meant as they are
	return &Storage{client: &http.Client{Transport: transport, CheckRedirect: stay}}
}

// stay follows no redirect: a presigned URL is signed for its host.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close closes the connections that nobody uses.
func (s *Storage) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// A request is tried this often, with growing waits between: two restarts of
// a storage server fit in.
const tries = 5

// firstWait is before the second try; each later wait is twice as long, three
// seconds in all.
const firstWait = 200 * time.Millisecond

// persist does a request until it succeeds, is refused for good, or was tried
// often enough.
func persist(ctx context.Context, do func(context.Context) error) error {
	wait := firstWait
	for try := 1; ; try++ {
		err := do(ctx)
		if err == nil || try == tries || payload.CodeOf(err) != payload.Unavailable {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait *= 2
		}
	}
}

// send makes one request and judges its status. The caller closes the body.
func (s *Storage) send(request *http.Request) (*http.Response, error) {
	response, err := s.client.Do(request)
	if err != nil {
		return nil, silent(request.Context()) // err's text holds the URL
	}
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return response, nil
	}
	io.Copy(io.Discard, io.LimitReader(response.Body, maxFrame)) // so that the connection can be used again
	response.Body.Close()
	return nil, refused(response.StatusCode)
}

// silent is the error of a request that got no answer.
func silent(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return payload.Errorf(payload.Unavailable, "the object storage was too slow: %w", cause)
	}
	return payload.Errorf(payload.Unavailable, "the object storage does not answer: try again").Retry(time.Second)
}

// refused is the error of a request that the storage did not carry out.
func refused(status int) error {
	switch {
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return payload.Errorf(payload.Expired, "the storage refused the URL, which is past its time or was withdrawn: renew the lease for a new one")
	case status == http.StatusNotFound:
		return payload.Errorf(payload.NotFound, "the storage has no such object, or no such upload any more")
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return payload.Errorf(payload.Unavailable, "the object storage failed with status %d: try again", status).Retry(time.Second)
	default:
		return payload.Errorf(payload.Internal, "the object storage refused the request with status %d", status)
	}
}

// patient bounds one request by what even a slow line would need, so that a
// stalled one is noticed: half a minute, and a second per mebibyte.
func patient(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 30*time.Second+time.Duration(size>>20)*time.Second)
}

// A Part is one piece of a payload and the URL that stores it.
type Part struct {
	Offset, Size int64
	URL          string
}

// An Upload is memory that becomes an object. Its methods may be called
// concurrently, except that what Send sends must not be written meanwhile.
type Upload struct {
	*Mapping
	storage *Storage
	parts   []Part
}

// Stage returns memory for a payload of this size. Its pages come when they
// are first written. Its error has code Invalid when the parts are not the
// payload, and Exhausted when there is no memory.
func (s *Storage) Stage(size int64, parts []Part) (*Upload, error) {
	var next int64
	for _, p := range parts {
		if p.Offset != next || p.Size < 0 {
			return nil, payload.Errorf(payload.Invalid, "the upload's parts do not follow each other")
		}
		next += p.Size
	}
	if next != size || len(parts) == 0 {
		return nil, payload.Errorf(payload.Invalid, "the upload's parts hold %d bytes, and the payload %d", next, size)
	}
	m, err := memory(size)
	return &Upload{Mapping: m, storage: s, parts: parts}, payload.Wrap("stage", payload.ID{}, err)
}

// Send stores every part, several at a time, calling sent, which may be nil and
// is called concurrently, with the size of each one that is stored. Sending
// again overwrites. Codes: Unavailable, Expired when the parts' URLs are past
// their time, NotFound when the allocation was given up.
func (u *Upload) Send(ctx context.Context, sent func(bytes int64)) error {
	u.mu.RLock() // Close waits
	defer u.mu.RUnlock()
	if u.bytes == nil {
		return payload.Wrap("upload", payload.ID{}, closed())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	for _, part := range u.parts {
		group.Go(func() error {
			err := persist(ctx, func(ctx context.Context) error { return u.put(ctx, part) })
			if err == nil && sent != nil {
				sent(part.Size)
			}
			return err
		})
	}
	return payload.Wrap("upload", payload.ID{}, group.Wait())
}

func (u *Upload) put(ctx context.Context, part Part) error {
	ctx, cancel := patient(ctx, part.Size)
	defer cancel()
	body := bytes.NewReader(u.bytes[part.Offset : part.Offset+part.Size])
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, part.URL, body)
	if err != nil {
		return unreadable()
	}
	response, err := u.storage.send(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func unreadable() error {
	return payload.Errorf(payload.Invalid, "this is not a URL that the daemon handed out")
}
