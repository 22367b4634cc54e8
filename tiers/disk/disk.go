// Package disk keeps payloads as files of one host: durable once sealed, and
// never half there.
//
// # On the disk
//
//	filling/LABEL.new     being reserved: swept away by the next Open
//	filling/LABEL         reserved in full, being written, mode 0600
//	sealed/A6/10/LABEL    immutable, mode 0400, fanned out by the id's last bytes
//
// All names are made from [tiers.Label], and reached through one os.Root: no
// client can say where a file goes. The folder is the truth; what this process
// keeps in memory is rebuilt from it by Open.
//
// # The steps of Seal, in this order
//
//  1. a read lease is taken and given back: the kernel grants it only when no
//     descriptor and no mapping can write
//  2. mode 0400
//  3. fsync of the file
//  4. fan-out folders made, and fsync of each one's parent
//  5. rename into place
//  6. fsync of the folder it came to, and of the one it left
//
// A crash between any two of them leaves a file that is either not sealed, or
// sealed and whole. Seal answers after the last, and repeats what it has to.
//
// # What it leaves out
//
// One daemon per folder: who ensures that is its caller. A mode is no seal: a
// client that runs as the daemon's own user, or as root, could change a sealed
// file by way of its descriptor's name in /proc. Clients under another user
// cannot.
package disk

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Options of a Tier.
type Options struct {
	Dir      string        // made if it is not there; nothing else may live in it
	Capacity int64         // bytes; 0 means as much as the file system has
	Look     time.Duration // how often to look for readers that let go of removed bytes; 0 means each second
	Log      *slog.Logger  // for what the file system cannot do; nil means silence
}

// A Tier is one folder. It is a [tiers.Tier] and a [tiers.Filer].
type Tier struct {
	files    files
	room     *tiers.Room
	capacity int64
	log      *slog.Logger
	noLeases sync.Once // says so
	creating singleflight.Group
	fanned   folders

	mu      sync.Mutex
	entries map[string]*entry // by location
}

var (
	_ tiers.Tier  = (*Tier)(nil)
	_ tiers.Filer = (*Tier)(nil)
)

// Open makes or adopts the folder: what was reserved or sealed in it counts as
// used. Code Internal when it cannot be used at all.
func Open(o Options) (*Tier, error) {
	files, err := openFolder(o.Dir)
	if err != nil {
		return nil, tiers.Fault("open the disk tier's folder", err)
	}
	t, err := open(o, files)
	if err != nil {
		files.close()
		return nil, tiers.Fault("adopt what the disk tier holds", err)
	}
	return t, nil
}

func open(o Options, files files) (*Tier, error) {
	if o.Look == 0 {
		o.Look = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tier{
		files:    files,
		room:     tiers.NewRoom(o.Capacity, o.Look),
		capacity: o.Capacity,
		log:      o.Log,
		entries:  make(map[string]*entry),
	}
	return t, t.adopt()
}

// adopt counts what is there, and sweeps away what was never reserved in full.
func (t *Tier) adopt() error {
	if err := t.files.sweep(); err != nil {
		return err
	}
	return t.files.list(func(label tiers.Label, sealed bool) error {
		t.entries[label.String()] = &entry{label: label, sealed: sealed}
		t.room.Adopt(label.Size)
		return nil
	})
}

// Name implements [tiers.Tier].
func (t *Tier) Name() payload.Tier { return payload.Disk }

// Create implements [tiers.Tier]. The blocks are reserved when it returns.
func (t *Tier) Create(_ context.Context, id payload.ID, attempt uint64, size int64) (string, error) {
	label := tiers.Label{ID: id, Attempt: attempt, Size: size}
	location := label.String()
	_, err, _ := t.creating.Do(location, func() (any, error) { return nil, t.create(label) })
	if err != nil {
		return "", err
	}
	return location, nil
}

func (t *Tier) create(label tiers.Label) error {
	if _, err := t.find(label.String()); err == nil {
		return nil
	}
	if err := t.room.Take(label.Size); err != nil {
		return err
	}
	if err := t.files.reserve(label); err != nil {
		t.room.Give(label.Size)
		return tiers.Fault("reserve room on the disk", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries[label.String()] = &entry{label: label}
	return nil
}

// Walk implements [tiers.Tier]. It reads the folder, not this process's memory
// of it. Files under names that this package would not give are left out.
func (t *Tier) Walk(ctx context.Context, visit func(tiers.Found) error) error {
	err := t.files.list(func(label tiers.Label, sealed bool) error {
		if err := tiers.Interrupted(ctx); err != nil {
			return err
		}
		found := tiers.Found{Location: label.String(), ID: label.ID, Attempt: label.Attempt, Size: label.Size, Sealed: sealed}
		if err := visit(found); err != nil {
			return stop{err}
		}
		return nil
	})
	if stopped, ok := err.(stop); ok {
		return stopped.error
	}
	return tiers.Fault("list the disk", err)
}

// stop carries the visitor's own error past Fault.
type stop struct{ error }

// Usage implements [tiers.Tier]. The capacity shrinks to what the file system
// has left for us.
func (t *Tier) Usage(context.Context) (tiers.Usage, error) {
	free, err := t.files.free()
	if err != nil {
		return tiers.Usage{}, tiers.Fault("ask how full the disk is", err)
	}
	used := t.room.Used()
	capacity := used + free
	if t.capacity > 0 {
		capacity = min(capacity, t.capacity)
	}
	return tiers.Usage{Capacity: capacity, Used: used}, nil
}

// Close lets go of the folder. The files stay.
func (t *Tier) Close() error {
	t.room.Close()
	return tiers.Fault("close the disk tier's folder", t.files.close())
}

// Writable implements [tiers.Filer].
func (t *Tier) Writable(_ context.Context, location string) (*os.File, error) {
	e, err := t.find(location)
	if err != nil {
		return nil, err
	}
	return e.writable(t.files, 0)
}

// Readable implements [tiers.Filer].
func (t *Tier) Readable(_ context.Context, location string) (*os.File, error) {
	e, err := t.find(location)
	if err != nil {
		return nil, err
	}
	return e.readable(t.files, 0)
}

func (t *Tier) find(location string) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.entries[location]; ok {
		return e, nil
	}
	return nil, gone()
}

func gone() error { return payload.Errorf(payload.NotFound, "the tier has no such location") }
