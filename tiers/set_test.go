package tiers_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/deploy/servers"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/object"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
)

var s3 *servers.S3

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if s3, err = servers.StartS3(context.Background(), servers.S3Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s3.Stop()
	return m.Run()
}

// A host is one with all tiers, on real parts.
type host struct {
	*tiers.Set
	folder string // of the disk tier
	prefix string // of the object tier's keys
}

var hosts atomic.Int64

func newHost(t testing.TB) host {
	h := host{folder: t.TempDir(), prefix: fmt.Sprintf("host-%d/", hosts.Add(1))}
	files, err := disk.Open(disk.Options{Dir: h.folder})
	require.NoError(t, err)
	objects, err := object.Open(t.Context(), object.Options{
		Endpoint: s3.Endpoint, AccessKey: s3.AccessKey, SecretKey: s3.SecretKey, Bucket: "payloads", Prefix: h.prefix})
	require.NoError(t, err)
	h.Set = tiers.NewSet(ram.New(ram.Options{}), files, objects)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func (h host) tier(t testing.TB, name payload.Tier) tiers.Tier {
	tier, err := h.Tier(name)
	require.NoError(t, err)
	return tier
}

// copyOf seals bytes in one tier and prepares their copy to another.
func (h host) copyOf(t testing.TB, from, to payload.Tier, content []byte) tiers.Copy {
	size := int64(len(content))
	return tiers.Copy{
		From: from, Source: tiertest.Sealed(t, h.tier(t, from), content),
		To: to, Target: tiertest.Create(t, h.tier(t, to), size),
		Size: size,
	}
}

func (h host) sealedIn(t testing.TB, name payload.Tier, location string) bool {
	for _, found := range tiertest.Walk(t, h.tier(t, name)) {
		if found.Location == location {
			return found.Sealed
		}
	}
	require.Fail(t, "the location is gone")
	return false
}

// everyPair runs a test for each tier to copy from and each to copy to.
func everyPair(t *testing.T, test func(t *testing.T, h host, from, to payload.Tier)) {
	h := newHost(t)
	for _, from := range h.Names() {
		for _, to := range h.Names() {
			t.Run(fmt.Sprintf("%s to %s", from, to), func(t *testing.T) { test(t, h, from, to) })
		}
	}
}

func TestSetNamesItsTiers(t *testing.T) {
	set := tiers.NewSet(ram.New(ram.Options{}))
	defer set.Close()
	require.Equal(t, []payload.Tier{payload.RAM}, set.Names())
	_, err := set.Tier(payload.Object)
	tiertest.Refused(t, payload.Unsupported, err)
	require.Equal(t, payload.TierOff, payload.ReasonOf(err))
	_, err = set.Copy(t.Context(), tiers.Copy{From: payload.RAM, To: payload.Disk}, nil)
	tiertest.Refused(t, payload.Unsupported, err)
}

func TestCopyBetweenAnyTwoTiers(t *testing.T) {
	everyPair(t, func(t *testing.T, h host, from, to payload.Tier) {
		for _, size := range tiertest.Sizes() {
			content := tiertest.Bytes(size, 1)
			c := h.copyOf(t, from, to, content)
			c.Want = payload.Sum(content)

			var heard []int64
			sum, err := h.Copy(t.Context(), c, func(done int64) { heard = append(heard, done) })
			require.NoError(t, err, "%d bytes", size)
			require.Equal(t, payload.Sum(content), sum)
			require.IsNonDecreasing(t, heard)
			require.Equal(t, size, heard[len(heard)-1], "progress ends at the whole")
			require.True(t, h.sealedIn(t, to, c.Target))
			require.Equal(t, payload.Sum(content), payload.Sum(tiertest.Read(t, h.tier(t, to), c.Target)))

			again, err := h.Copy(t.Context(), c, nil)
			require.NoError(t, err, "a copy may be repeated")
			require.Equal(t, sum, again)
			for _, at := range []struct {
				tier     payload.Tier
				location string
			}{{from, c.Source}, {to, c.Target}} {
				sum, err := h.Sum(t.Context(), at.tier, at.location, size)
				require.NoError(t, err)
				require.Equal(t, payload.Sum(content), sum)
				require.NoError(t, h.tier(t, at.tier).Remove(t.Context(), at.location))
			}
		}
	})
}

// Nobody knows the checksum of what a producer just committed: the first hop
// finds it.
func TestCopyFindsTheChecksum(t *testing.T) {
	h := newHost(t)
	content := tiertest.Bytes(100_000, 1)
	sum, err := h.Copy(t.Context(), h.copyOf(t, payload.RAM, payload.Disk, content), nil)
	require.NoError(t, err)
	require.Equal(t, payload.Sum(content), sum)
}

func TestCopyRefusesOtherBytes(t *testing.T) {
	everyPair(t, func(t *testing.T, h host, from, to payload.Tier) {
		c := h.copyOf(t, from, to, tiertest.Bytes(tiers.PieceSize+1, 1))
		c.Want = payload.Sum([]byte("other bytes"))
		_, err := h.Copy(t.Context(), c, nil)
		tiertest.Refused(t, payload.Corrupt, err)
		require.False(t, h.sealedIn(t, to, c.Target))
		require.NoError(t, h.tier(t, to).Remove(t.Context(), c.Target))
	})
}

func TestCopyRefusesAnotherLength(t *testing.T) {
	everyPair(t, func(t *testing.T, h host, from, to payload.Tier) {
		c := h.copyOf(t, from, to, tiertest.Bytes(100, 1))
		c.Size = 101
		_, err := h.Copy(t.Context(), c, nil)
		tiertest.Refused(t, payload.Corrupt, err)
		require.False(t, h.sealedIn(t, to, c.Target))
	})
}

// One byte rots where a payload rests; memory cannot be reached.
func TestCopyNoticesRot(t *testing.T) {
	everyPair(t, func(t *testing.T, h host, from, to payload.Tier) {
		if from == payload.RAM {
			return
		}
		content := tiertest.Bytes(2*tiers.PieceSize+5, 1)
		c := h.copyOf(t, from, to, content)
		c.Want = payload.Sum(content)
		h.rot(t, from, c.Source, content)
		_, err := h.Copy(t.Context(), c, nil)
		tiertest.Refused(t, payload.Corrupt, err)
		require.False(t, h.sealedIn(t, to, c.Target))
	})
}

func (h host) rot(t *testing.T, tier payload.Tier, location string, content []byte) {
	t.Helper()
	where := len(content) / 2
	if tier == payload.Object {
		rotten := slices.Clone(content)
		rotten[where] ^= 1
		h.replaceObject(t, location, rotten)
		return
	}
	found, err := filepath.Glob(filepath.Join(h.folder, "sealed", "*", "*", location))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, os.Chmod(found[0], 0o600))
	file, err := os.OpenFile(found[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte{content[where] ^ 1}, int64(where))
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func (h host) replaceObject(t *testing.T, location string, content []byte) {
	t.Helper()
	client, err := minio.New(s3.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, "")})
	require.NoError(t, err)
	_, err = client.PutObject(t.Context(), "payloads", h.prefix+location, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
	require.NoError(t, err)
}

func TestCopyNeedsItsEnds(t *testing.T) {
	everyPair(t, func(t *testing.T, h host, from, to payload.Tier) {
		c := h.copyOf(t, from, to, []byte("bytes"))
		none := c
		none.Source = "nowhere"
		_, err := h.Copy(t.Context(), none, nil)
		tiertest.Refused(t, payload.NotFound, err)
		none = c
		none.Target = "nowhere"
		_, err = h.Copy(t.Context(), none, nil)
		tiertest.Refused(t, payload.NotFound, err)

		unsealed := c
		unsealed.Source = tiertest.Create(t, h.tier(t, from), 5)
		_, err = h.Copy(t.Context(), unsealed, nil)
		tiertest.Refused(t, payload.Conflict, err)
	})
}

func TestCopyThatIsCancelledLeavesNothingSealed(t *testing.T) {
	everyPair(t, func(t *testing.T, h host, from, to payload.Tier) {
		c := h.copyOf(t, from, to, tiertest.Bytes(6*tiers.PieceSize, 1))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := h.Copy(ctx, c, func(int64) { cancel() })
		tiertest.Refused(t, payload.Unavailable, err)
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, h.sealedIn(t, to, c.Target))

		_, err = h.Copy(t.Context(), c, nil)
		require.NoError(t, err, "and can be done again")
		require.NoError(t, h.tier(t, from).Remove(t.Context(), c.Source))
		require.NoError(t, h.tier(t, to).Remove(t.Context(), c.Target))
	})
}

func TestCopyWithAWriterInTheTarget(t *testing.T) {
	h := newHost(t)
	for _, to := range []payload.Tier{payload.RAM, payload.Disk} {
		c := h.copyOf(t, payload.Disk, to, tiertest.Bytes(8192, 1))
		if to == payload.Disk {
			writer, err := h.tier(t, to).(tiers.Filer).Writable(t.Context(), c.Target)
			require.NoError(t, err)
			defer writer.Close()
		} else {
			writer, err := h.tier(t, to).Fill(t.Context(), c.Target)
			require.NoError(t, err)
			defer writer.Close()
		}
		_, err := h.Copy(t.Context(), c, nil)
		tiertest.Refused(t, payload.Busy, err)
		require.False(t, h.sealedIn(t, to, c.Target))
	}
}

func TestManyCopiesAtOnce(t *testing.T) {
	h := newHost(t)
	var all sync.WaitGroup
	for i, from := range h.Names() {
		for j, to := range h.Names() {
			content := tiertest.Bytes(tiers.PieceSize+int64(i*10+j), byte(i*10+j))
			c := h.copyOf(t, from, to, content)
			all.Go(func() {
				sum, err := h.Copy(t.Context(), c, nil)
				if err != nil || sum != payload.Sum(content) {
					t.Errorf("%s to %s: %v, %v", from, to, sum, err)
				}
			})
		}
	}
	all.Wait()
}

func TestCopyIntoAStoppedServer(t *testing.T) {
	own, err := servers.StartS3(t.Context(), servers.S3Options{})
	require.NoError(t, err)
	defer own.Stop()
	objects, err := object.Open(t.Context(), object.Options{
		Endpoint: own.Endpoint, AccessKey: own.AccessKey, SecretKey: own.SecretKey, Bucket: "payloads"})
	require.NoError(t, err)
	set := tiers.NewSet(ram.New(ram.Options{}), objects)
	defer set.Close()
	h := host{Set: set}
	content := tiertest.Bytes(3*tiers.PieceSize, 1)
	c := h.copyOf(t, payload.RAM, payload.Object, content)

	own.Kill()
	_, err = h.Copy(t.Context(), c, nil)
	tiertest.Refused(t, payload.Unavailable, err)
	require.Equal(t, payload.Sum(content), payload.Sum(tiertest.Read(t, h.tier(t, payload.RAM), c.Source)), "the source stays")

	require.NoError(t, own.Restart(t.Context()))
	require.False(t, h.sealedIn(t, payload.Object, c.Target))
	_, err = h.Copy(t.Context(), c, nil)
	require.NoError(t, err)
}
