package object

import (
	"context"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Open implements [tiers.Tier].
func (t *Tier) Open(ctx context.Context, location string) (tiers.Source, error) {
	label, err := tiers.ParseLabel(location)
	if err != nil {
		return nil, err
	}
	object, err := t.sealed(ctx, location)
	if err != nil {
		return nil, err
	}
	if object.Size != label.Size {
		return nil, payload.Errorf(payload.Corrupt, "the object has %d bytes instead of %d", object.Size, label.Size)
	}
	return &source{tier: t, object: object}, nil
}

// A source reads ranges of one object: if another takes its place, none of it.
type source struct {
	tier   *Tier
	object minio.ObjectInfo
}

// Size implements [tiers.Source].
func (s *source) Size() int64 { return s.object.Size }

// Checksum implements [tiers.Summed]: the server's own, over the whole object,
// if it has one.
func (s *source) Checksum() payload.Checksum {
	if s.object.ChecksumMode != "FULL_OBJECT" {
		return payload.Checksum{}
	}
	return decode(s.object.ChecksumCRC32C)
}

// ReadAt implements [tiers.Source] by one ranged request.
func (s *source) ReadAt(ctx context.Context, p []byte, offset int64) error {
	if err := tiers.Outside(offset, len(p), s.object.Size); err != nil || len(p) == 0 {
		return err
	}
	ctx, cancel := within(ctx, int64(len(p)))
	defer cancel()
	err := fault(ctx, s.fetch(ctx, p, offset))
	if payload.CodeOf(err) == payload.Conflict {
		return payload.Errorf(payload.Corrupt, "the object was replaced by another")
	}
	return err
}

func (s *source) fetch(ctx context.Context, p []byte, offset int64) error {
	var o minio.GetObjectOptions
	if err := o.SetMatchETag(s.object.ETag); err != nil {
		return err
	}
	if err := o.SetRange(offset, offset+int64(len(p))-1); err != nil {
		return err
	}
	body, _, _, err := s.tier.s3.GetObject(ctx, s.tier.bucket, s.object.Key, o)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.ReadFull(body, p)
	return err
}

// Close implements [tiers.Source].
func (s *source) Close() error { return nil }

// PresignRead implements [tiers.Presigner].
func (t *Tier) PresignRead(ctx context.Context, location string, valid time.Duration) (string, error) {
	if _, err := t.sealed(ctx, location); err != nil {
		return "", err
	}
	address, err := t.s3.PresignedGetObject(ctx, t.bucket, t.prefix+location, valid, nil)
	if err != nil {
		return "", payload.Errorf(payload.Invalid, "a URL is valid for a second to seven days")
	}
	return address.String(), nil
}

// sealed finds an object, and tells one that is not complete from none.
func (t *Tier) sealed(ctx context.Context, location string) (minio.ObjectInfo, error) {
	object, err := t.stat(ctx, location)
	if !absent(err) {
		return object, err
	}
	if _, _, err := t.look(ctx, location); err != nil {
		return object, err
	}
	return object, payload.Errorf(payload.Conflict, "the bytes are not sealed yet")
}

func (t *Tier) stat(ctx context.Context, location string) (minio.ObjectInfo, error) {
	if _, err := tiers.ParseLabel(location); err != nil {
		return minio.ObjectInfo{}, err
	}
	ctx, cancel := within(ctx, 0)
	defer cancel()
	object, err := t.s3.StatObject(ctx, t.bucket, t.prefix+location, minio.StatObjectOptions{Checksum: true})
	object.Key = t.prefix + location
	return object, fault(ctx, err)
}
