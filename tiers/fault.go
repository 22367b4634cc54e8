package tiers

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Fault turns the operating system's error into one of ours: its number is
// kept, the path that may stand beside it is not. A nil err stays nil.
func Fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*payload.Error](err); ok {
		return known
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return payload.Errorf(payload.Internal, "%s failed", doing)
	}
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM:
		return Full()
	case syscall.EMFILE, syscall.ENFILE:
		return payload.Errorf(payload.Exhausted, "%s: %w: raise the limit on open files", doing, errno)
	case syscall.ENOENT:
		return payload.Errorf(payload.NotFound, "the tier has no such location")
	case syscall.EIO:
		return payload.Errorf(payload.Unavailable, "%s: %w", doing, errno).Retry(time.Second)
	default:
		return payload.Errorf(payload.Internal, "%s: %w", doing, errno)
	}
}

// Full is the refusal of a tier that has no room.
func Full() error {
	return payload.Errorf(payload.Exhausted, "the tier is full: free room, or wait until some is").Because(payload.TierFull)
}

// Interrupted is nil while ctx lives, and Unavailable after.
func Interrupted(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return payload.Errorf(payload.Unavailable, "interrupted: %w", err)
	}
	return nil
}

// Outside is nil if length bytes at the offset lie within size, and Invalid
// otherwise.
func Outside(offset int64, length int, size int64) error {
	if offset < 0 || offset > size || int64(length) > size-offset {
		return payload.Errorf(payload.Invalid, "%d bytes at %d lie outside a payload of %d", length, offset, size)
	}
	return nil
}
