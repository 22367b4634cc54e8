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
// # What it leaves out
//
// The segments live as long as this process: a new one begins with none. Small
// payloads cost a descriptor and a page at least.
package ram

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
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

	mu       sync.Mutex
	segments map[string]*segment // by location
}

var (
	_ tiers.Tier  = (*Tier)(nil)
	_ tiers.Filer = (*Tier)(nil)
)

// New makes a Tier without segments.
func New(o Options) *Tier {
	if o.Look == 0 {
		o.Look = time.Second
	}
	return &Tier{
		room:     tiers.NewRoom(o.Capacity, o.Look),
		capacity: o.Capacity,
		segments: make(map[string]*segment),
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
	if _, err := t.find(label.String()); err == nil {
		return nil
	}
	if err := t.room.Take(label.Size); err != nil {
		return err
	}
	file, err := reserve(ctx, label.Size)
	if err != nil {
		t.room.Give(label.Size)
		return err
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

// Open implements [tiers.Tier]. The Source is [tiers.Mapped].
func (t *Tier) Open(ctx context.Context, location string) (tiers.Source, error) {
	file, err := t.Readable(ctx, location)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return mapFile(file, unix.PROT_READ)
}

// Seal implements [tiers.Tier].
func (t *Tier) Seal(_ context.Context, location string) error {
	s, err := t.find(location)
	if err != nil {
		return err
	}
	return s.seal()
}

// Remove implements [tiers.Tier].
func (t *Tier) Remove(_ context.Context, location string) error {
	t.mu.Lock()
	s, ok := t.segments[location]
	delete(t.segments, location)
	t.mu.Unlock()
	if ok {
		t.room.Leave(s.end(), s.label.Size)
	}
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

// Close forgets every segment. What clients hold stays readable for them.
func (t *Tier) Close() error {
	var errs []error
	for _, s := range t.all() {
		errs = append(errs, t.Remove(context.Background(), s.label.String()))
	}
	t.room.Close()
	return errors.Join(errs...)
}

// Writable implements [tiers.Filer].
func (t *Tier) Writable(_ context.Context, location string) (*os.File, error) {
	s, err := t.find(location)
	if err != nil {
		return nil, err
	}
	return s.writable()
}

// Readable implements [tiers.Filer].
func (t *Tier) Readable(_ context.Context, location string) (*os.File, error) {
	s, err := t.find(location)
	if err != nil {
		return nil, err
	}
	return s.readable()
}

func (t *Tier) find(location string) (*segment, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.segments[location]; ok {
		return s, nil
	}
	return nil, payload.Errorf(payload.NotFound, "the tier has no such location")
}

func (t *Tier) all() []*segment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.segments))
}
