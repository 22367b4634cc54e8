// Package ram keeps payloads in memory of this host that the kernel makes
// immutable: one sealed memfd each. Clients map it through a file descriptor,
// so that nobody copies.
//
// # How a segment lives
//
// Create makes the file, reserves its pages, and seals its length: no client
// can cut it short under another's feet, and none meets SIGBUS for want of
// memory. Seal adds F_SEAL_WRITE, which the kernel grants only once no writable
// mapping is left; from then on mprotect, mmap, write and truncate fail for
// everybody, root included. Remove gives up the tier's own descriptor; the
// kernel frees the pages when the last reader is gone, and until then they
// count as used (see [tiers.Room]).
//
// # Whose life they share
//
// Without a [Keeper] the segments live as long as this process: a new one begins
// with none. With one, a duplicate of each descriptor lies in another process
// before Create answers, Open finds all of them again, and the seals say which
// were committed: the kernel keeps that in the file itself. Bytes that were
// removed under a reader's hands stay with the keeper until the reader lets go,
// so that they count across a restart, too. When the keeper dies, [Tier.Rekeep]
// hands the next one all that this process has open.
//
// # What it leaves out
//
// It starts no keeper and notices no keeper's end. Small payloads cost a
// descriptor and a page at least.
package ram

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Options of a Tier.
type Options struct {
	Capacity int64         // bytes; 0 means as much as the host gives
	Look     time.Duration // how often to look for readers that let go of removed bytes; 0 means each second
}

// A Tier is the memory of this process. It is a [tiers.Tier] and a
// [tiers.Filer].
type Tier struct {
	room     *tiers.Room
	capacity int64
	creating singleflight.Group
	closing  atomic.Bool

	// keeping is held for reading while the keeper is spoken to and until what it
	// said is written down, so that Rekeep sees no half of it. It is taken before
	// any segment's lock.
	keeping sync.RWMutex
	keeper  Keeper // nil: the memory ends with the Tier

	mu       sync.Mutex
	segments map[string]*segment // by location
	leaving  map[string]bool     // removed, and still with the keeper
}

var (
	_ tiers.Tier  = (*Tier)(nil)
	_ tiers.Filer = (*Tier)(nil)
)

// New makes a Tier without segments, which end with it.
func New(o Options) *Tier {
	if o.Look == 0 {
		o.Look = time.Second
	}
	return &Tier{
		room:     tiers.NewRoom(o.Capacity, o.Look),
		capacity: o.Capacity,
		segments: make(map[string]*segment),
		leaving:  make(map[string]bool),
	}
}

// Name implements [tiers.Tier].
func (t *Tier) Name() payload.Tier { return payload.RAM }

// Create implements [tiers.Tier]. The pages are reserved when it returns.
func (t *Tier) Create(ctx context.Context, id payload.ID, attempt uint64, size int64) (string, error) {
	label := tiers.Label{ID: id, Attempt: attempt, Size: size}
	location := label.String()
	_, err, _ := t.creating.Do(location, func() (any, error) { return nil, t.create(ctx, label) })
	if err != nil {
		return "", err
	}
	return location, nil
}

func (t *Tier) create(ctx context.Context, label tiers.Label) error {
	if _, known := t.lookup(label.String()); known {
		return nil
	}
	if err := t.room.Take(label.Size); err != nil {
		return err
	}
	file, err := reserve(ctx, label.Size)
	if err == nil {
		err = t.keep(ctx, label, file)
	}
	if err != nil {
		t.room.Give(label.Size)
	}
	return err
}

// keep makes file a segment of the tier, which its keeper holds, too; or closes
// it. A keeper that was asked in vain may still hold it: it is told to forget.
func (t *Tier) keep(ctx context.Context, label tiers.Label, file *os.File) error {
	t.keeping.RLock()
	defer t.keeping.RUnlock()
	if t.keeper != nil {
		if err := t.keeper.Keep(ctx, label.String(), file); err != nil {
			_ = t.keeper.Forget(ctx, label.String()) // else Rekeep finds it
			file.Close()
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.segments[label.String()] = &segment{label: label, file: file}
	return nil
}

// Fill implements [tiers.Tier]. The Target is [tiers.Mapped].
func (t *Tier) Fill(ctx context.Context, location string) (tiers.Target, error) {
	file, err := t.Writable(ctx, location)
	if err != nil {
		return nil, err
	}
	defer file.Close() // the mapping keeps the description, and with it the lock
	return mapFile(file, unix.PROT_READ|unix.PROT_WRITE)
}

// Open implements [tiers.Tier]. The Source of what is not small is
// [tiers.Mapped].
func (t *Tier) Open(ctx context.Context, location string) (tiers.Source, error) {
	s, err := t.find(ctx, location)
	if err != nil {
		return nil, err
	}
	if s.label.Size <= tiers.Small {
		return s.reading()
	}
	file, err := s.readable()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return mapFile(file, unix.PROT_READ)
}

// Seal implements [tiers.Tier].
func (t *Tier) Seal(ctx context.Context, location string) error {
	s, err := t.find(ctx, location)
	if err != nil {
		return err
	}
	return s.seal()
}

// Remove implements [tiers.Tier]. The keeper knows before it returns.
func (t *Tier) Remove(ctx context.Context, location string) error {
	s, known := t.lookup(location)
	if !known {
		return nil
	}
	t.keeping.RLock()
	defer t.keeping.RUnlock()
	file, err := s.end(ctx, t.keeper)
	if payload.CodeOf(err) == payload.NotFound {
		t.lose(s)
		return nil
	}
	if err != nil || file == nil { // nil: another Remove came first
		return err
	}
	t.mu.Lock()
	delete(t.segments, location)
	t.mu.Unlock()
	t.leave(s.label, file)
	return nil
}

// Walk implements [tiers.Tier].
func (t *Tier) Walk(ctx context.Context, visit func(tiers.Found) error) error {
	for _, s := range t.all() {
		if err := tiers.Interrupted(ctx); err != nil {
			return err
		}
		if err := visit(s.found()); err != nil {
			return err
		}
	}
	return nil
}

// Usage implements [tiers.Tier].
func (t *Tier) Usage(context.Context) (tiers.Usage, error) {
	return tiers.Usage{Capacity: t.capacity, Used: t.room.Used()}, nil
}

// Close lets go of every segment, and forgets them where no keeper has them.
// What clients hold stays readable for them.
func (t *Tier) Close() error {
	t.closing.Store(true)
	t.mu.Lock()
	all := t.segments
	t.segments = make(map[string]*segment)
	t.mu.Unlock()
	for _, s := range all {
		if file := s.drop(); file != nil {
			t.room.Leave(file, s.label.Size)
		}
	}
	t.room.Close()
	return nil
}

// Writable implements [tiers.Filer].
func (t *Tier) Writable(ctx context.Context, location string) (*os.File, error) {
	s, err := t.find(ctx, location)
	if err != nil {
		return nil, err
	}
	return s.writable()
}

// Readable implements [tiers.Filer].
func (t *Tier) Readable(ctx context.Context, location string) (*os.File, error) {
	s, err := t.find(ctx, location)
	if err != nil {
		return nil, err
	}
	return s.readable()
}

// find returns a segment whose descriptor is here. That of a segment from
// before this process is fetched the first time.
func (t *Tier) find(ctx context.Context, location string) (*segment, error) {
	s, known := t.lookup(location)
	if !known {
		return nil, gone()
	}
	if s.here() {
		return s, nil
	}
	t.keeping.RLock()
	defer t.keeping.RUnlock()
	return s, s.fetch(ctx, t.keeper)
}

func (t *Tier) lookup(location string) (s *segment, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, known = t.segments[location]
	return s, known
}

func (t *Tier) all() []*segment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.segments))
}
