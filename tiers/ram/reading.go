package ram

import (
	"context"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// A reading is a small segment as a Source that reads, by the tier's own
// description, instead of mapping. It ends with the segment.
type reading struct{ segment *segment }

func (s *segment) reading() (tiers.Source, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.over && !s.sealed {
		return nil, payload.Errorf(payload.Conflict, "the bytes are not sealed yet")
	}
	return reading{s}, nil
}

// ReadAt implements [tiers.Source].
func (r reading) ReadAt(ctx context.Context, p []byte, offset int64) error {
	if err := tiers.Outside(offset, len(p), r.Size()); err != nil {
		return err
	}
	r.segment.mu.RLock()
	defer r.segment.mu.RUnlock()
	if r.segment.file == nil {
		return gone()
	}
	if _, err := r.segment.file.ReadAt(p, offset); err != nil {
		return tiers.Fault("read memory", err)
	}
	return tiers.Interrupted(ctx)
}

// Size implements [tiers.Source].
func (r reading) Size() int64 { return r.segment.label.Size }

// Close implements [tiers.Source].
func (reading) Close() error { return nil }
