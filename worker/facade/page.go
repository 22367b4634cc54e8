package facade

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A page token is the last id of its page, and 16 bytes of a SHA-256 over that
// and the filter, as base64url text. The sum keeps a token from being used with
// another filter, or after a slip of the hand. It is no secret: whoever forges
// one that fits has written down an id to start from, and sees what the filter
// lets them see anyway. So it works at every host and after every restart.
const pageSum = 16

func pageToken(r *payloadv1.ListRequest, last payload.ID) string {
	return base64.RawURLEncoding.EncodeToString(append(last[:], sumOfPage(r, last)...))
}

// pageToken reads the token of a request: the id to go on after.
func (f *fields) pageToken(r *payloadv1.ListRequest) (last payload.ID) {
	if r.GetPageToken() == "" {
		return last
	}
	token, err := base64.RawURLEncoding.DecodeString(r.GetPageToken())
	if err == nil && len(token) == len(last)+pageSum {
		copy(last[:], token)
		if bytes.Equal(token[len(last):], sumOfPage(r, last)) {
			return last
		}
	}
	f.fail(invalid("page_token", "use the token of the page before, with the same filter"))
	return payload.ID{}
}

func sumOfPage(r *payloadv1.ListRequest, last payload.ID) []byte {
	filter := fmt.Sprintf("payload-manager page 1 %q %v %d %q %s", r.GetNamespace(), r.GetStates(), r.GetTier(), r.GetHost(), last)
	sum := sha256.Sum256([]byte(filter))
	return sum[:pageSum]
}
