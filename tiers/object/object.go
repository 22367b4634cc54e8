// Package object keeps payloads in a bucket that every host reaches, by the S3
// protocol.
//
// # How an object comes to be
//
// Create starts a multipart upload, under a key made from [tiers.Label]. The
// parts are the pieces of [tiers.Pieces]: this process uploads them with a
// CRC32C each, which the server verifies, or a client does by presigned URLs.
// Seal looks that all are there in their full length and completes the upload
// unless an object has the key already. After that the upload no longer exists,
// so no URL handed out for its parts can change anything; and because an
// attempt's number never comes back, neither does its key.
//
// The bucket is the truth: any process can go on where another stopped. What
// this one remembers only saves requests.
//
// # What differs between servers
//
// Some compute a CRC32C over the whole object, and do so for parts that came
// without a checksum too; Open asks. Then a Source is [tiers.Summed]. With the
// others a sum takes a download. MinIO lists unfinished uploads by their full
// key, or all of the bucket's, and nothing between: so does this package.
//
// # What it leaves out
//
// Usage knows the bucket as it was at Open, and what this process did since:
// not what other hosts do.
package object

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/singleflight"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Options of a Tier.
type Options struct {
	Endpoint  string // host:port
	Secure    bool   // TLS
	AccessKey string
	SecretKey string
	Bucket    string // made if it is not there
	Region    string // empty means us-east-1
	Prefix    string // of every key, as "payloads/"; nothing else may live under it
	Capacity  int64  // bytes; 0 means none is known
}

// A Tier is one prefix of one bucket. It is a [tiers.Tier] and a
// [tiers.Presigner].
type Tier struct {
	s3       minio.Core
	http     *http.Transport
	bucket   string
	prefix   string
	sums     bool // the server sums whole objects up
	creating singleflight.Group
	ledger   ledger

	mu      sync.Mutex
	uploads map[string]string // by location: the upload, as far as this process knows it
}

var (
	_ tiers.Tier      = (*Tier)(nil)
	_ tiers.Presigner = (*Tier)(nil)
)

// Open connects to the bucket, makes it where it is absent, and counts what is
// in it, which takes a request per thousand objects. Codes: Unavailable when
// the server cannot be reached, Invalid when the options make no sense.
func Open(ctx context.Context, o Options) (*Tier, error) {
	o.Region = cmp.Or(o.Region, "us-east-1")
	transport := newTransport()
	s3, err := minio.NewCore(o.Endpoint, &minio.Options{
		Creds:      credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""),
		Secure:     o.Secure,
		Region:     o.Region,
		Transport:  transport,
		MaxRetries: retries,
	})
	if err != nil {
		return nil, payload.Errorf(payload.Invalid, "the object store's endpoint must be host:port")
	}
	t := &Tier{
		s3:      *s3,
		http:    transport,
		bucket:  o.Bucket,
		prefix:  o.Prefix,
		ledger:  ledger{capacity: o.Capacity, sizes: make(map[string]int64)},
		uploads: make(map[string]string),
	}
	if err := t.begin(ctx, o.Region); err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	return t, nil
}

func (t *Tier) begin(ctx context.Context, region string) (err error) {
	if err := t.makeBucket(ctx, region); err != nil {
		return err
	}
	if t.sums, err = t.askForSums(ctx); err != nil {
		return err
	}
	return t.Walk(ctx, func(f tiers.Found) error {
		t.ledger.adopt(f.Location, f.Size)
		return nil
	})
}

// newTransport makes connections of this tier's own, so that Close can end
// them. Requests bound their time themselves.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true,
	}
}

// Name implements [tiers.Tier].
func (t *Tier) Name() payload.Tier { return payload.Object }

// Usage implements [tiers.Tier]. It asks nobody.
func (t *Tier) Usage(context.Context) (tiers.Usage, error) { return t.ledger.usage(), nil }

// Close ends the connections. Objects and unfinished uploads stay.
func (t *Tier) Close() error {
	t.http.CloseIdleConnections()
	return nil
}

// How long a request may take, repeats included: the server's time to think,
// and a mebibyte a second for bytes.
const (
	think   = 30 * time.Second
	perMiB  = time.Second
	retries = 5 // of one request that met a broken connection or a busy server; takes 3 s
)

// within bounds a request that moves size bytes.
func within(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, think+time.Duration(size>>20)*perMiB)
}
