package sdk

import (
	"context"
	"sync"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Hold is a lease that renews itself until it is closed. It is safe for
// concurrent use.
type Hold struct {
	client *Client
	lease  payload.Lease
	span   time.Duration // asked for at every renewal

	stop  context.CancelFunc
	ended chan struct{} // closed when the renewing is over
	lost  chan struct{} // closed when the daemon refused to renew

	mu    sync.Mutex
	until time.Time
	url   string
	use   func(url string) // is told every new url, if set
	err   error            // why it was lost
}

// Hold leases the best placement and keeps the lease. The caller must close it.
func (c *Client) Hold(ctx context.Context, id payload.ID, options ...ReadOption) (*Hold, error) {
	return c.hold(ctx, id, readingOf(options))
}

func (c *Client) hold(ctx context.Context, id payload.ID, how reading) (*Hold, error) {
	asked := time.Now()
	lease, err := c.acquire(ctx, id, how)
	if err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(c.background)
	h := &Hold{
		client: c, lease: lease, span: how.lease,
		stop: stop, ended: make(chan struct{}), lost: make(chan struct{}),
		until: asked.Add(lease.Remaining), url: lease.Descriptor.URL,
	}
	go h.keep(background)
	return h, nil
}

// Lease is what the daemon granted at first.
func (h *Hold) Lease() payload.Lease { return h.lease }

// Descriptor says which placement is held, as it is reached now.
func (h *Hold) Descriptor() payload.Descriptor {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.lease.Descriptor
	d.URL = h.url
	return d
}

// Until is when the lease ends unless it is renewed, by this machine's clock
// and never later than the daemon has it.
func (h *Hold) Until() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.until
}

// Lost is closed when the lease will not be renewed any more: its placement is
// about to go, or no daemon answered until it was over. In the first case it
// still holds until Until, ten minutes at most: time to finish, or to open the
// payload again, where it is then. Bytes that are mapped already stay readable
// either way.
func (h *Hold) Lost() <-chan struct{} { return h.lost }

// Err says why the lease was lost, and is nil before.
func (h *Hold) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// goodbye bounds the release of a lease. When it cannot be delivered, the lease
// ends by itself.
const goodbye = 2 * time.Second

// Close releases the lease. Closing twice is closing once.
func (h *Hold) Close() error {
	h.stop()
	<-h.ended
	ctx, cancel := context.WithTimeout(h.client.background, goodbye)
	defer cancel()
	return h.client.Release(ctx, h.lease.Token)
}

// keep renews the lease each time half of what is left has passed, so that an
// outage of the daemon leaves several attempts before the lease is over.
func (h *Hold) keep(ctx context.Context) {
	defer close(h.ended)
	for {
		left := time.Until(h.Until())
		if !rest(ctx, max(left/2, 0)) {
			return
		}
		if err := h.renew(ctx, left); err != nil {
			if ctx.Err() == nil {
				h.lose(err)
			}
			return
		}
	}
}

// renew tries once. A daemon that does not answer is no refusal as long as the
// lease holds.
func (h *Hold) renew(ctx context.Context, left time.Duration) error {
	const least = time.Second // for an answer, however short the lease is
	asked := time.Now()
	trial, cancel := context.WithTimeout(ctx, max(left/4, least))
	defer cancel()
	renewal, err := h.client.Renew(trial, h.lease.Token, h.span)
	if payload.CodeOf(err) == payload.Unavailable && time.Now().Before(h.Until()) {
		return nil
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = asked.Add(renewal.Remaining)
	if renewal.URL != "" {
		h.url = renewal.URL
		if h.use != nil {
			h.use(h.url)
		}
	}
	return nil
}

// follow has use told the URL as it is now and as it becomes.
func (h *Hold) follow(use func(url string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.use = use
	use(h.url)
}

func (h *Hold) lose(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	close(h.lost)
}
