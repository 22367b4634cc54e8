package object

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// fault turns an answer of the server, or the lack of one, into an error of
// ours. Of what the server said only its error's code is kept: messages repeat
// keys and addresses.
func fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if interrupted := tiers.Interrupted(ctx); interrupted != nil {
		return interrupted
	}
	if known, ok := errors.AsType[*payload.Error](err); ok {
		return known
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return unreachable(err)
	}
	switch answer.Code {
	case "NoSuchKey", "NoSuchUpload", "NotFound":
		return payload.Errorf(payload.NotFound, "the tier has no such location")
	case "PreconditionFailed":
		return payload.Errorf(payload.Conflict, "another object is in the way")
	case "BadDigest", "XAmzContentChecksumMismatch":
		return payload.Errorf(payload.Corrupt, "the bytes changed on their way to the object store")
	case "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		return tiers.Full()
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket":
		return payload.Errorf(payload.Unavailable, "the object store answers %s: check the daemon's keys and bucket", answer.Code).Retry(time.Minute)
	}
	return refusal(answer)
}

// refusal sorts what has no code that we know by its HTTP status.
func refusal(answer minio.ErrorResponse) error {
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return payload.Errorf(payload.NotFound, "the tier has no such location")
	case answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode >= 500:
		return payload.Errorf(payload.Unavailable, "the object store is busy or broken (%s)", answer.Code).Retry(time.Second)
	default:
		return payload.Errorf(payload.Internal, "the object store refuses (%s)", answer.Code)
	}
}

func unreachable(err error) error {
	refused := payload.Errorf(payload.Unavailable, "the object store cannot be reached")
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		refused = payload.Errorf(payload.Unavailable, "the object store cannot be reached: %w", errno)
	}
	return refused.Retry(time.Second)
}

func absent(err error) bool { return payload.CodeOf(err) == payload.NotFound }
