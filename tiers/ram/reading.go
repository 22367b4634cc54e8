package ram

import (
	"context"
	"os"

	"github.com/payload-manager/payload-manager/tiers"
)

// A reading is a small segment as a Source that reads instead of mapping.
type reading struct {
	file *os.File
	size int64
}

// ReadAt implements [tiers.Source].
func (r *reading) ReadAt(ctx context.Context, p []byte, offset int64) error {
	if err := tiers.Outside(offset, len(p), r.size); err != nil {
		return err
	}
	if _, err := r.file.ReadAt(p, offset); err != nil {
		return tiers.Fault("read memory", err)
	}
	return tiers.Interrupted(ctx)
}

// Size implements [tiers.Source].
func (r *reading) Size() int64 { return r.size }

// Close implements [tiers.Source].
func (r *reading) Close() error { return tiers.Fault("close memory", r.file.Close()) }
