package placement

import (
	"context"
	"sync"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// passing counts the writable files that are on their way to producers: until
// the data door has closed its own copy of one, this process itself looks like
// a writer that has not let go.
type passing struct {
	mu   sync.Mutex
	open map[payload.ID]*copies
}

type copies struct {
	count int
	none  chan struct{} // closed when count falls to 0
}

func (p *passing) begin(id payload.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[payload.ID]*copies{}
	}
	if p.open[id] == nil {
		p.open[id] = &copies{none: make(chan struct{})}
	}
	p.open[id].count++
}

func (p *passing) end(id payload.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.open[id]
	if at.count--; at.count == 0 {
		close(at.none)
		delete(p.open, id)
	}
}

// wait returns once no copy of ours is open, which takes the door microseconds.
func (p *passing) wait(ctx context.Context, id payload.ID) error {
	p.mu.Lock()
	at := p.open[id]
	p.mu.Unlock()
	if at == nil {
		return nil
	}
	select {
	case <-at.none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
