package ram

import (
	"context"
	"os"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// A Keeper holds duplicates of a tier's descriptors in another process, so that
// the memory outlives this one. Its methods may be called concurrently; each has
// taken effect when it returns nil. Code Unavailable: the keeper is gone, and
// Rekeep is due with the next.
type Keeper interface {
	// Keep holds a duplicate of file under label. Keeping the same file again
	// changes nothing.
	Keep(ctx context.Context, label string, file *os.File) error

	// Fetch returns a duplicate, or code NotFound.
	Fetch(ctx context.Context, label string) (*os.File, error)

	// Retire marks what is held as removed but still open at some client.
	// Retiring and forgetting nothing does nothing.
	Retire(ctx context.Context, label string) error

	// Forget lets go.
	Forget(ctx context.Context, label string) error

	// List visits all that is held, in no order; sealed is the kernel's word.
	List(ctx context.Context, visit func(label string, size int64, sealed, retired bool) error) error
}

// Open makes a Tier of the segments that keeper holds for it, and lets keeper
// hold those to come. Their descriptors are fetched when they are needed.
func Open(ctx context.Context, keeper Keeper, o Options) (*Tier, error) {
	t := New(o)
	t.keeper = keeper
	retired, err := t.adopt(ctx)
	if err == nil {
		err = t.dismiss(ctx, retired)
	}
	if err != nil {
		_ = t.Close() // lets go of descriptors alone; what went wrong is known
		return nil, err
	}
	return t, nil
}

// adopt takes over what the keeper holds, and returns what was removed before
// and not let go of.
func (t *Tier) adopt(ctx context.Context) (retired []tiers.Label, err error) {
	err = t.keeper.List(ctx, func(text string, _ int64, sealed, gone bool) error {
		label, err := tiers.ParseLabel(text)
		switch {
		case err != nil: // not a segment's
		case gone:
			retired = append(retired, label)
		default:
			t.room.Adopt(label.Size)
			t.segments[text] = &segment{label: label, sealed: sealed}
		}
		return nil
	})
	return retired, err
}

// dismiss goes on counting what was removed while an earlier process ran.
func (t *Tier) dismiss(ctx context.Context, retired []tiers.Label) error {
	for _, label := range retired {
		file, err := t.keeper.Fetch(ctx, label.String())
		if payload.CodeOf(err) == payload.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		t.room.Adopt(label.Size)
		t.leave(label, file)
	}
	return nil
}

// leave gives up removed bytes once no client has them open: the keeper first,
// so that it is this process that spends the time which freeing takes.
func (t *Tier) leave(label tiers.Label, file *os.File) {
	t.mu.Lock()
	t.leaving[label.String()] = true
	t.mu.Unlock()
	t.room.LeaveWith(file, label.Size, func() {
		t.forget(label)
		_ = file.Close() // nothing was written through it
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.leaving, label.String())
	})
}

// forget tells the keeper to let go, as far as it can be told: what it holds in
// vain is found by Rekeep, or by the next Open. A tier that closes leaves to its
// keeper what readers still have open.
func (t *Tier) forget(label tiers.Label) {
	t.keeping.RLock()
	defer t.keeping.RUnlock()
	if t.keeper != nil && !t.closing.Load() {
		_ = t.keeper.Forget(context.Background(), label.String())
	}
}

// Rekeep goes on with a new keeper after the old one was lost. It hands over
// every segment that this process has open, and returns those whose only
// descriptor was the lost keeper's: their bytes are gone, and so are they from
// the tier. It may be repeated until it returns nil, with another keeper each
// time.
func (t *Tier) Rekeep(ctx context.Context, keeper Keeper) (lost []tiers.Found, err error) {
	t.keeping.Lock()
	defer t.keeping.Unlock()
	t.keeper = keeper
	held := map[string]bool{}
	if err := keeper.List(ctx, func(label string, _ int64, _, _ bool) error {
		held[label] = true
		return nil
	}); err != nil {
		return nil, err
	}
	for _, s := range t.all() {
		label := s.label.String()
		if !held[label] {
			kept, err := s.keepAgain(ctx, keeper)
			if err != nil {
				return lost, err
			}
			if !kept {
				lost = append(lost, t.lose(s))
			}
		}
		delete(held, label)
	}
	return lost, t.forgetStrays(ctx, held)
}

// lose drops a segment that nobody holds.
func (t *Tier) lose(s *segment) tiers.Found {
	label := s.label.String()
	t.mu.Lock()
	_, first := t.segments[label]
	delete(t.segments, label)
	t.mu.Unlock()
	if first {
		t.room.Give(s.label.Size)
	}
	return s.found()
}

// forgetStrays lets the keeper forget segments that this tier knows nothing of:
// those whose Create or Remove failed together with the keeper's connection.
func (t *Tier) forgetStrays(ctx context.Context, held map[string]bool) error {
	for text := range held {
		t.mu.Lock()
		expected := t.leaving[text]
		t.mu.Unlock()
		if _, err := tiers.ParseLabel(text); err != nil || expected {
			continue
		}
		if err := t.keeper.Forget(ctx, text); err != nil {
			return err
		}
	}
	return nil
}
