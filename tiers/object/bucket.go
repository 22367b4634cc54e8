package object

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

func (t *Tier) makeBucket(ctx context.Context, region string) error {
	ctx, cancel := within(ctx, 0)
	defer cancel()
	exists, err := t.s3.BucketExists(ctx, t.bucket)
	if err != nil || exists {
		return fault(ctx, err)
	}
	err = t.s3.MakeBucket(ctx, t.bucket, minio.MakeBucketOptions{Region: region})
	switch minio.ToErrorResponse(err).Code {
	case "BucketAlreadyOwnedByYou", "BucketAlreadyExists": // another host was faster
		return nil
	}
	return fault(ctx, err)
}

// askForSums starts an upload that asks for a checksum of the whole object, and
// sends it a part as any HTTP client would, without one. A server that takes it
// computes what is missing. The upload is never completed.
func (t *Tier) askForSums(ctx context.Context) (bool, error) {
	key := t.prefix + "probe"
	t.sums = true
	upload, err := t.startUpload(ctx, key)
	if err != nil {
		return false, nilUnless(payload.Unavailable, err)
	}
	url, err := t.presignPart(ctx, key, upload, 1, time.Minute)
	if err != nil {
		return false, err
	}
	status, err := t.put(ctx, url, "probe")
	if err != nil {
		return false, err
	}
	return status == http.StatusOK, t.abort(ctx, key, upload)
}

// put sends a text and returns the HTTP status that it met.
func (t *Tier) put(ctx context.Context, url, text string) (status int, err error) {
	ctx, cancel := within(ctx, 0)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(text))
	if err != nil {
		return 0, payload.Errorf(payload.Internal, "a presigned URL is malformed")
	}
	response, err := t.http.RoundTrip(request)
	if err != nil {
		return 0, fault(ctx, err)
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, fault(ctx, err)
}

// nilUnless keeps an error of this code only.
func nilUnless(code payload.Code, err error) error {
	if payload.CodeOf(err) == code {
		return err
	}
	return nil
}

// Walk implements [tiers.Tier]. Uploads come first: one that is completed
// meanwhile is met again as an object, rather than not at all.
func (t *Tier) Walk(ctx context.Context, visit func(tiers.Found) error) error {
	if err := t.walkUploads(ctx, visit); err != nil {
		return err
	}
	return t.walkObjects(ctx, visit)
}

func (t *Tier) walkUploads(ctx context.Context, visit func(tiers.Found) error) error {
	last := ""
	return t.eachUpload(ctx, "", func(key, _ string) error {
		if key == last {
			return nil // a second upload of the same attempt
		}
		last = key
		return t.report(key, false, visit)
	})
}

func (t *Tier) walkObjects(ctx context.Context, visit func(tiers.Found) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for object := range t.s3.ListObjectsIter(ctx, t.bucket, minio.ListObjectsOptions{Prefix: t.prefix, Recursive: true}) {
		if object.Err != nil {
			return fault(ctx, object.Err)
		}
		if err := t.report(object.Key, true, visit); err != nil {
			return err
		}
	}
	return tiers.Interrupted(ctx)
}

// report visits what has a key of ours.
func (t *Tier) report(key string, sealed bool, visit func(tiers.Found) error) error {
	location, ours := strings.CutPrefix(key, t.prefix)
	label, err := tiers.ParseLabel(location)
	if !ours || err != nil {
		return nil
	}
	return visit(tiers.Found{Location: location, ID: label.ID, Attempt: label.Attempt, Size: label.Size, Sealed: sealed})
}

// eachUpload visits the unfinished uploads of one key, or all of the bucket's
// when it is empty.
func (t *Tier) eachUpload(ctx context.Context, only string, visit func(key, upload string) error) error {
	const page = 1000
	var afterKey, afterUpload string
	for {
		found, err := t.listUploads(ctx, only, afterKey, afterUpload, page)
		if err != nil {
			return err
		}
		for _, at := range found.Uploads {
			if only != "" && at.Key != only {
				continue
			}
			if err := visit(at.Key, at.UploadID); err != nil {
				return err
			}
		}
		if !found.IsTruncated {
			return nil
		}
		afterKey, afterUpload = found.NextKeyMarker, found.NextUploadIDMarker
	}
}

func (t *Tier) listUploads(ctx context.Context, prefix, afterKey, afterUpload string, page int) (minio.ListMultipartUploadsResult, error) {
	ctx, cancel := within(ctx, 0)
	defer cancel()
	found, err := t.s3.ListMultipartUploads(ctx, t.bucket, prefix, afterKey, afterUpload, "", page)
	return found, fault(ctx, err)
}
