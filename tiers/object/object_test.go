package object_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/deploy/servers"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/object"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
)

// kinds are the servers to test on: the one that comes with the project, and
// with PAYLOAD_TEST_MINIO set the other, which is stricter in places.
var kinds = map[string]*servers.S3{}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	start := map[string]func(context.Context, servers.S3Options) (*servers.S3, error){"versitygw": servers.StartS3}
	if os.Getenv("PAYLOAD_TEST_MINIO") != "" {
		start["minio"] = servers.StartMinIO
	}
	for kind, start := range start {
		s3, err := start(context.Background(), servers.S3Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer s3.Stop()
		kinds[kind] = s3
	}
	return m.Run()
}

// onEach runs a test on every kind of server.
func onEach(t *testing.T, test func(*testing.T, *servers.S3)) {
	for kind, s3 := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, s3) })
	}
}

func TestTier(t *testing.T) {
	onEach(t, func(t *testing.T, s3 *servers.S3) {
		options := map[tiers.Tier]object.Options{}
		open := func(t *testing.T, o object.Options) tiers.Tier {
			tier := opened(t, o)
			options[tier] = o
			return tier
		}
		tiertest.Run(t,
			func(t *testing.T, capacity int64) tiers.Tier {
				o := fresh(s3)
				o.Capacity = capacity
				return open(t, o)
			},
			tiertest.Features{Reopen: func(t *testing.T, tier tiers.Tier) tiers.Tier {
				require.NoError(t, tier.Close())
				return open(t, options[tier])
			}})
	})
}

// One host creates, another seals, a third reads.
func TestHostsShareTheBucket(t *testing.T) {
	onEach(t, func(t *testing.T, s3 *servers.S3) {
		o := fresh(s3)
		first, second, third := opened(t, o), opened(t, o), opened(t, o)
		location := tiertest.Create(t, first, 5)
		target, err := second.Fill(t.Context(), location)
		require.NoError(t, err)
		require.NoError(t, target.WriteAt(t.Context(), []byte("there"), 0))
		require.NoError(t, second.Seal(t.Context(), location))
		require.NoError(t, first.Seal(t.Context(), location), "who did not see it happen is content")
		require.Equal(t, "there", string(tiertest.Read(t, third, location)))

		require.NoError(t, third.Remove(t.Context(), location))
		_, err = first.Open(t.Context(), location)
		tiertest.Refused(t, payload.NotFound, err)
	})
}

func TestTwoHostsBeginTheSameAttempt(t *testing.T) {
	onEach(t, func(t *testing.T, s3 *servers.S3) {
		o := fresh(s3)
		first, second := opened(t, o), opened(t, o)
		id, err := payload.NewID()
		require.NoError(t, err)
		location, err := first.Create(t.Context(), id, 1, 5)
		require.NoError(t, err)
		again, err := second.Create(t.Context(), id, 1, 5)
		require.NoError(t, err)
		require.Equal(t, location, again)
		require.Len(t, tiertest.Walk(t, second), 1)
		require.NoError(t, second.Remove(t.Context(), location))
		require.Empty(t, tiertest.Walk(t, first))
	})
}

// What lies in the bucket beside our keys is neither counted nor touched.
func TestObjectsOfOthersAreLeftAlone(t *testing.T) {
	onEach(t, func(t *testing.T, s3 *servers.S3) {
		o := fresh(s3)
		opened(t, o)
		put(t, s3, o.Prefix+"notes", []byte("of somebody else"))
		tier := opened(t, o)
		require.Empty(t, tiertest.Walk(t, tier))
		usage, err := tier.Usage(t.Context())
		require.NoError(t, err)
		require.Zero(t, usage.Used)
	})
}

func TestAnObjectReplacedWhileItIsReadIsCorrupt(t *testing.T) {
	onEach(t, func(t *testing.T, s3 *servers.S3) {
		o := fresh(s3)
		tier := opened(t, o)
		location := tiertest.Sealed(t, tier, []byte("the true bytes"))
		source, err := tier.Open(t.Context(), location)
		require.NoError(t, err)
		defer source.Close()
		put(t, s3, o.Prefix+location, []byte("forged content"))

		tiertest.Refused(t, payload.Corrupt, source.ReadAt(t.Context(), make([]byte, 14), 0))
		put(t, s3, o.Prefix+location, []byte("short"))
		_, err = tier.Open(t.Context(), location)
		tiertest.Refused(t, payload.Corrupt, err)
	})
}

// The server that comes with the project sums objects up, whoever uploaded.
func TestTheServersOwnChecksum(t *testing.T) {
	tier := opened(t, fresh(kinds["versitygw"]))
	want := tiertest.Bytes(tiers.PieceSize+7, 1)
	source, err := tier.Open(t.Context(), tiertest.Sealed(t, tier, want))
	require.NoError(t, err)
	defer source.Close()
	require.Equal(t, payload.Sum(want), source.(tiers.Summed).Checksum())
}

func TestPiecesThatAreNoPartsAreRefused(t *testing.T) {
	tier := opened(t, fresh(kinds["versitygw"]))
	target, err := tier.Fill(t.Context(), tiertest.Create(t, tier, 2*tiers.PieceSize))
	require.NoError(t, err)
	defer target.Close()
	tiertest.Refused(t, payload.Invalid, target.WriteAt(t.Context(), make([]byte, 10), 0))
	tiertest.Refused(t, payload.Invalid, target.WriteAt(t.Context(), make([]byte, tiers.PieceSize), 10))
}

func TestAnOutageIsSaidAndEndsWell(t *testing.T) {
	s3, err := servers.StartS3(t.Context(), servers.S3Options{})
	require.NoError(t, err)
	defer s3.Stop()
	tier := opened(t, fresh(s3))
	ctx, want := t.Context(), tiertest.Bytes(1000, 1)
	sealed := tiertest.Sealed(t, tier, want)
	location := tiertest.Create(t, tier, 1000)
	target, err := tier.Fill(ctx, location)
	require.NoError(t, err)
	defer target.Close()
	require.NoError(t, target.WriteAt(ctx, want, 0))

	s3.Kill()
	unavailable := func(err error) {
		t.Helper()
		tiertest.Refused(t, payload.Unavailable, err)
		var why *payload.Error
		require.ErrorAs(t, err, &why)
		require.Positive(t, why.RetryAfter)
	}
	id, err := payload.NewID()
	require.NoError(t, err)
	_, err = tier.Create(ctx, id, 1, 1)
	unavailable(err)
	unavailable(target.WriteAt(ctx, want, 0))
	unavailable(tier.Seal(ctx, location))
	_, err = tier.Open(ctx, sealed)
	unavailable(err)
	unavailable(tier.Walk(ctx, func(tiers.Found) error { return nil }))
	unavailable(tier.Remove(ctx, sealed))
	usage, err := tier.Usage(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(2000), usage.Used, "what was not created does not count, what was not removed does")

	require.NoError(t, s3.Restart(ctx))
	require.Equal(t, want, tiertest.Read(t, tier, sealed))
	_, err = tier.Open(ctx, location)
	tiertest.Refused(t, payload.Conflict, err)
	require.NoError(t, tier.Seal(ctx, location))
	require.Equal(t, want, tiertest.Read(t, tier, location))
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	o := fresh(kinds["versitygw"])
	wrong := o
	wrong.SecretKey = "not the key"
	_, err := object.Open(t.Context(), wrong)
	tiertest.Refused(t, payload.Unavailable, err)

	wrong = o
	wrong.Endpoint = "no endpoint at all"
	_, err = object.Open(t.Context(), wrong)
	tiertest.Refused(t, payload.Invalid, err)
}

var prefixes atomic.Int64

// fresh are options for a part of the bucket that no other test has.
func fresh(s3 *servers.S3) object.Options {
	return object.Options{
		Endpoint:  s3.Endpoint,
		AccessKey: s3.AccessKey,
		SecretKey: s3.SecretKey,
		Bucket:    "payloads",
		Prefix:    fmt.Sprintf("test-%d/", prefixes.Add(1)),
	}
}

func opened(t *testing.T, o object.Options) *object.Tier {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tier, err := object.Open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tier.Close()) })
	return tier
}

// put is somebody who may write to the bucket, and does.
func put(t *testing.T, s3 *servers.S3, key string, body []byte) {
	t.Helper()
	client, err := minio.New(s3.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, "")})
	require.NoError(t, err)
	_, err = client.PutObject(t.Context(), "payloads", key, io.Reader(bytes.NewReader(body)), int64(len(body)), minio.PutObjectOptions{})
	require.NoError(t, err)
}
