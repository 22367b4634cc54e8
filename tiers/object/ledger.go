package object

import (
	"sync"

	"github.com/payload-manager/payload-manager/tiers"
)

// A ledger counts the bytes of the locations that this process knows of.
type ledger struct {
	capacity int64

	mu    sync.Mutex
	sizes map[string]int64
	used  int64
}

// take reserves room for a location, or says that the tier is full.
func (l *ledger) take(location string, size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.sizes[location]
	if !known && l.capacity > 0 && size > l.capacity-l.used {
		return tiers.Full()
	}
	l.put(location, size)
	return nil
}

// adopt counts a location that is there already.
func (l *ledger) adopt(location string, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(location, size)
}

func (l *ledger) put(location string, size int64) {
	l.used += size - l.sizes[location]
	l.sizes[location] = size
}

// drop forgets a location.
func (l *ledger) drop(location string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used -= l.sizes[location]
	delete(l.sizes, location)
}

func (l *ledger) usage() tiers.Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tiers.Usage{Capacity: l.capacity, Used: l.used}
}
