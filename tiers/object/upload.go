package object

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Create implements [tiers.Tier]. The bytes are reserved in the tier's capacity
// only: no server sets room aside.
func (t *Tier) Create(ctx context.Context, id payload.ID, attempt uint64, size int64) (string, error) {
	label := tiers.Label{ID: id, Attempt: attempt, Size: size}
	location := label.String()
	_, err, _ := t.creating.Do(location, func() (any, error) { return nil, t.create(ctx, location, size) })
	if err != nil {
		return "", err
	}
	return location, nil
}

func (t *Tier) create(ctx context.Context, location string, size int64) error {
	_, _, err := t.look(ctx, location)
	if !absent(err) {
		return err
	}
	if err := t.ledger.take(location, size); err != nil {
		return err
	}
	upload, err := t.startUpload(ctx, t.prefix+location)
	if err != nil {
		t.ledger.drop(location)
		return err
	}
	t.remember(location, upload)
	return nil
}

// Fill implements [tiers.Tier].
func (t *Tier) Fill(ctx context.Context, location string) (tiers.Target, error) {
	upload, label, err := t.unsealed(ctx, location)
	if err != nil {
		return nil, err
	}
	return &target{tier: t, key: t.prefix + location, upload: upload, size: label.Size}, nil
}

// A target uploads parts.
type target struct {
	tier   *Tier
	key    string
	upload string
	size   int64
}

// WriteAt implements [tiers.Target]. The server refuses bytes that do not sum
// up to their CRC32C.
func (w *target) WriteAt(ctx context.Context, p []byte, offset int64) error {
	number, err := partAt(w.size, offset, len(p))
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx, int64(len(p)))
	defer cancel()
	// The sum takes the place of the signature's hash, which costs many times
	// as much, and which versitygw takes only instead of it.
	_, err = w.tier.s3.PutObjectPart(ctx, w.tier.bucket, w.key, w.upload, number, bytes.NewReader(p), int64(len(p)),
		minio.PutObjectPartOptions{
			CustomHeader:         http.Header{"X-Amz-Checksum-Crc32c": {encode(payload.Sum(p))}},
			DisableContentSha256: true,
		})
	return fault(ctx, err)
}

// Close implements [tiers.Target].
func (w *target) Close() error { return nil }

// partAt is the number of the part that is just this piece. S3 counts from 1.
func partAt(size, offset int64, length int) (int, error) {
	if err := tiers.Outside(offset, length, size); err != nil {
		return 0, err
	}
	step := tiers.PieceSizeFor(size)
	if offset%step != 0 || int64(length) != min(step, size-offset) {
		return 0, payload.Errorf(payload.Invalid, "%d bytes at %d are no piece of a payload of %d", length, offset, size)
	}
	return int(offset/step) + 1, nil
}

// encode writes a checksum as S3's headers have it.
func encode(sum payload.Checksum) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Value()))
}

// decode is the inverse of encode; what it cannot read is unknown.
func decode(text string) payload.Checksum {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return payload.Checksum{}
	}
	return payload.CRC32C(binary.BigEndian.Uint32(raw))
}

// Seal implements [tiers.Tier]. Two callers at once, or one that did not hear
// the first answer, find that the object is there and are content.
func (t *Tier) Seal(ctx context.Context, location string) error {
	upload, label, err := t.look(ctx, location)
	if err != nil || upload == "" {
		return err
	}
	parts, err := t.parts(ctx, location, upload, label.Size)
	if err == nil {
		err = t.complete(ctx, location, upload, parts)
	}
	switch payload.CodeOf(err) {
	case "":
		t.forget(location)
		return nil
	case payload.NotFound, payload.Conflict:
		return t.sealedAlready(ctx, location, upload)
	default:
		return err
	}
}

// sealedAlready follows an upload that has ended, or lost against another of
// the same attempt.
func (t *Tier) sealedAlready(ctx context.Context, location, upload string) error {
	t.forget(location)
	if _, err := t.stat(ctx, location); err != nil {
		return err
	}
	return t.abort(ctx, t.prefix+location, upload)
}

// parts lists what arrived, and makes sure that it is all of it.
func (t *Tier) parts(ctx context.Context, location, upload string, size int64) ([]minio.CompletePart, error) {
	pieces := tiers.Pieces(size)
	parts := make([]minio.CompletePart, 0, len(pieces))
	for more := true; more; {
		page, err := t.listParts(ctx, t.prefix+location, upload, len(parts))
		if err != nil {
			return nil, err
		}
		for _, p := range page.ObjectParts {
			at := len(parts)
			if at == len(pieces) || p.PartNumber != at+1 || p.Size != pieces[at].Size {
				return nil, missing()
			}
			parts = append(parts, minio.CompletePart{PartNumber: p.PartNumber, ETag: p.ETag, ChecksumCRC32C: p.ChecksumCRC32C})
		}
		more = page.IsTruncated && len(page.ObjectParts) > 0
	}
	if len(parts) < len(pieces) {
		return nil, missing()
	}
	return parts, nil
}

func missing() error {
	return payload.Errorf(payload.Invalid, "not all parts arrived in full: upload the missing ones, then commit")
}

func (t *Tier) listParts(ctx context.Context, key, upload string, after int) (minio.ListObjectPartsResult, error) {
	const page = 1000
	ctx, cancel := within(ctx, 0)
	defer cancel()
	found, err := t.s3.ListObjectParts(ctx, t.bucket, key, upload, after, page)
	return found, fault(ctx, err)
}

// complete makes the object, unless there is one. Servers that only link parts
// are quick; one that copies gets the time to.
func (t *Tier) complete(ctx context.Context, location, upload string, parts []minio.CompletePart) error {
	label, err := tiers.ParseLabel(location)
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx, label.Size)
	defer cancel()
	options := minio.PutObjectOptions{UserMetadata: t.summing()}
	delete(options.UserMetadata, algorithm)
	options.SetMatchETagExcept("*")
	_, err = t.s3.CompleteMultipartUpload(ctx, t.bucket, t.prefix+location, upload, parts, options)
	return fault(ctx, err)
}

// Remove implements [tiers.Tier].
func (t *Tier) Remove(ctx context.Context, location string) error {
	if _, err := tiers.ParseLabel(location); err != nil {
		return nil
	}
	key := t.prefix + location
	err := t.eachUpload(ctx, key, func(_, upload string) error { return t.abort(ctx, key, upload) })
	if err != nil {
		return err
	}
	if err := t.delete(ctx, key); err != nil {
		return err
	}
	t.forget(location)
	t.ledger.drop(location)
	return nil
}

func (t *Tier) delete(ctx context.Context, key string) error {
	ctx, cancel := within(ctx, 0)
	defer cancel()
	err := fault(ctx, t.s3.RemoveObject(ctx, t.bucket, key, minio.RemoveObjectOptions{}))
	if absent(err) {
		return nil
	}
	return err
}

// abort ends an upload, if it has not ended.
func (t *Tier) abort(ctx context.Context, key, upload string) error {
	ctx, cancel := within(ctx, 0)
	defer cancel()
	err := fault(ctx, t.s3.AbortMultipartUpload(ctx, t.bucket, key, upload))
	if absent(err) {
		return nil
	}
	return err
}

func (t *Tier) startUpload(ctx context.Context, key string) (upload string, err error) {
	ctx, cancel := within(ctx, 0)
	defer cancel()
	upload, err = t.s3.NewMultipartUpload(ctx, t.bucket, key, minio.PutObjectOptions{UserMetadata: t.summing()})
	return upload, fault(ctx, err)
}

const algorithm = "X-Amz-Checksum-Algorithm"

// summing are the headers that ask for a CRC32C over the whole object.
func (t *Tier) summing() map[string]string {
	if !t.sums {
		return nil
	}
	return map[string]string{algorithm: "CRC32C", "X-Amz-Checksum-Type": "FULL_OBJECT"}
}

// PresignParts implements [tiers.Presigner]. Parts that a client uploads are
// verified where the server sums whole objects up, and else by who downloads
// them.
func (t *Tier) PresignParts(ctx context.Context, location string, size int64, valid time.Duration) ([]tiers.Part, error) {
	upload, label, err := t.unsealed(ctx, location)
	if err != nil {
		return nil, err
	}
	if size != label.Size {
		return nil, payload.Errorf(payload.Invalid, "%d bytes were reserved, not %d", label.Size, size)
	}
	pieces := tiers.Pieces(size)
	parts := make([]tiers.Part, len(pieces))
	for i, p := range pieces {
		address, err := t.presignPart(ctx, t.prefix+location, upload, i+1, valid)
		if err != nil {
			return nil, err
		}
		parts[i] = tiers.Part{Offset: p.Offset, Size: p.Size, URL: address}
	}
	return parts, nil
}

func (t *Tier) presignPart(ctx context.Context, key, upload string, number int, valid time.Duration) (string, error) {
	query := url.Values{"uploadId": {upload}, "partNumber": {strconv.Itoa(number)}}
	address, err := t.s3.Presign(ctx, http.MethodPut, t.bucket, key, valid, query)
	if err != nil {
		return "", payload.Errorf(payload.Invalid, "a URL is valid for a second to seven days")
	}
	return address.String(), nil
}

// unsealed finds the upload of a location that is not sealed.
func (t *Tier) unsealed(ctx context.Context, location string) (upload string, label tiers.Label, err error) {
	upload, label, err = t.look(ctx, location)
	if err == nil && upload == "" {
		err = payload.Errorf(payload.Conflict, "the bytes are sealed already")
	}
	return upload, label, err
}

// look finds out what is at a location: an upload; an object, and so none; or
// nothing, which is NotFound.
func (t *Tier) look(ctx context.Context, location string) (upload string, label tiers.Label, err error) {
	label, err = tiers.ParseLabel(location)
	if err != nil {
		return "", label, err
	}
	if upload = t.remembered(location); upload != "" {
		return upload, label, nil
	}
	if _, err := t.stat(ctx, location); !absent(err) {
		return "", label, err
	}
	err = t.eachUpload(ctx, t.prefix+location, func(_, found string) error {
		upload = found
		return nil
	})
	if err == nil && upload == "" {
		err = payload.Errorf(payload.NotFound, "the tier has no such location")
	}
	if err == nil {
		t.remember(location, upload)
	}
	return upload, label, err
}

func (t *Tier) remember(location, upload string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.uploads[location] = upload
}

func (t *Tier) remembered(location string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.uploads[location]
}

func (t *Tier) forget(location string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.uploads, location)
}
