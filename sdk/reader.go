package sdk

import (
	"context"
	"errors"

	"github.com/payload-manager/payload-manager/sdk/access"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Reader reads a payload under a lease that renews itself. It is safe for
// concurrent use.
type Reader struct {
	*Hold
	bytes access.Reader
	ctx   context.Context // of fetches, ends with Close
	end   context.CancelFunc
}

// Open leases the best placement and opens it in this process: bytes in ram and
// on disk are mapped, which costs the same for any size; objects are fetched
// when they are read. The caller must close the Reader.
func (c *Client) Open(ctx context.Context, id payload.ID, options ...ReadOption) (*Reader, error) {
	how := readingOf(options)
	hold, err := c.hold(ctx, id, how)
	if err != nil {
		return nil, err
	}
	bytes, err := c.bytesOf(ctx, hold, how)
	if err != nil {
		_ = hold.Close() // if it cannot be released, it runs out
		return nil, payload.Wrap("open", id, err)
	}
	r := &Reader{Hold: hold, bytes: bytes}
	r.ctx, r.end = context.WithCancel(c.background)
	return r, nil
}

// bytesOf opens what is held. Sealed memory cannot have changed since it was
// summed, so only what was stored elsewhere is compared with its checksum.
func (c *Client) bytesOf(ctx context.Context, hold *Hold, how reading) (access.Reader, error) {
	at := hold.Lease().Descriptor
	want := at.Checksum
	if how.unverified || at.Tier == payload.RAM {
		want = payload.Checksum{}
	}
	switch at.Tier {
	case payload.RAM, payload.Disk:
		mapping, err := c.openFile(ctx, hold.Lease().Token)
		if err != nil {
			return nil, err
		}
		return mapping.Reader(want), nil
	case payload.Object:
		remote := c.storage.Reader(at.URL, at.Size, want)
		hold.follow(remote.Use)
		return remote, nil
	default:
		return nil, payload.Errorf(payload.Unsupported, "this client reads ram, disk and object: spill the payload to one of them")
	}
}

// Bytes is the whole payload: the same memory for all readers of ram and disk,
// a copy fetched once for object. From disk and object it is compared with the
// checksum when first asked for, unless the Reader was opened Unverified. The
// slice must not be written, which for mapped bytes the kernel enforces by
// ending the process, and not be touched after Close. Codes: Corrupt, and for
// object those of its storage.
func (r *Reader) Bytes() ([]byte, error) {
	bytes, err := r.bytes.Bytes(r.ctx)
	return bytes, payload.Wrap("read", r.lease.Descriptor.ID, err)
}

// ReadAt copies a range, as io.ReaderAt says. It compares nothing with the
// checksum.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) { return r.bytes.ReadAt(p, offset) }

// Size is the payload's, in bytes.
func (r *Reader) Size() int64 { return r.bytes.Size() }

// Close lets go of the bytes, then releases the lease.
func (r *Reader) Close() error {
	r.end()
	return errors.Join(r.bytes.Close(), r.Hold.Close())
}
