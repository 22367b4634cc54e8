package facade

import (
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A repeatable request may come twice and is answered as if it came once.
type repeatable interface {
	proto.Message
	GetRequestId() string
}

// request makes a request recognisable within its scope: by its digest, the
// SHA-256 over its type's name and its fields in the order of their numbers.
// The request's own id is one of them, which changes nothing: digests are only
// ever compared between requests that carry the same. A request without an id
// costs nothing here.
func (f *fields) request(scope string, r repeatable) catalog.Request {
	id := f.requestID(r.GetRequestId())
	if id == "" || f.err != nil {
		return catalog.Request{}
	}
	body := append([]byte(r.ProtoReflect().Descriptor().FullName()), 0)
	body, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(body, r)
	if err != nil {
		f.fail(payload.Errorf(payload.Internal, "the request cannot be written: %w", err))
	}
	digest := sha256.Sum256(body)
	return catalog.Request{Scope: scope, ID: id, Digest: digest[:]}
}
