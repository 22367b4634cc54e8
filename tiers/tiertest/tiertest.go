// Package tiertest is the one suite that every Tier passes: what a location's
// life promises, method by method, each called twice, at the sizes where
// storage tends to go wrong. What only some tiers can (file descriptors, URLs,
// surviving a restart) is asked of those that can.
//
// It leaves out how fast a tier is, and what is peculiar to one.
package tiertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Open makes an empty tier of a capacity in bytes, 0 for none. The test closes
// it.
type Open func(t *testing.T, capacity int64) tiers.Tier

// Features say what differs between tiers, and is meant to.
type Features struct {
	// Reopen closes a tier and opens it again over the same bytes, as a restart
	// of the daemon does. Nil for a tier that forgets them.
	Reopen func(t *testing.T, tier tiers.Tier) tiers.Tier

	// AgainstRoot says that even root cannot write sealed bytes.
	AgainstRoot bool
}

// Sizes are where pages, pieces and parts begin and end.
func Sizes() []int64 {
	return []int64{0, 1, 4095, 4096, 4097, tiers.PieceSize - 1, tiers.PieceSize, tiers.PieceSize + 1, 40 << 20}
}

// Run tests a tier.
func Run(t *testing.T, open Open, f Features) {
	for _, size := range Sizes() {
		t.Run(fmt.Sprintf("a life of %d bytes", size), func(t *testing.T) { life(t, open(t, 0), size) })
	}
	t.Run("what is not sealed cannot be read", func(t *testing.T) { unsealed(t, open(t, 0)) })
	t.Run("what is sealed cannot be filled", func(t *testing.T) { sealed(t, open(t, 0)) })
	t.Run("unknown locations", func(t *testing.T) { unknown(t, open(t, 0)) })
	t.Run("outside of a payload", func(t *testing.T) { outside(t, open(t, 0)) })
	t.Run("attempts live side by side", func(t *testing.T) { attempts(t, open(t, 0)) })
	t.Run("a full tier", func(t *testing.T) { full(t, open(t, 1<<20)) })
	t.Run("many want the last room", func(t *testing.T) { crowd(t, open(t, 1<<20)) })
	t.Run("one attempt created by many", func(t *testing.T) { together(t, open(t, 0)) })
	t.Run("a walk that is stopped", func(t *testing.T) { stopped(t, open(t, 0)) })
	t.Run("a caller who gave up", func(t *testing.T) { gaveUp(t, open(t, 0)) })
	if _, ok := open(t, 0).(tiers.Filer); ok {
		runFiler(t, open, f)
	}
	if _, ok := open(t, 0).(tiers.Presigner); ok {
		runPresigner(t, open)
	}
	if f.Reopen != nil {
		t.Run("after a restart", func(t *testing.T) { restart(t, open(t, 0), f.Reopen) })
	}
}

func life(t *testing.T, tier tiers.Tier, size int64) {
	ctx := t.Context()
	id, want := newID(t), Bytes(size, 1)

	location, err := tier.Create(ctx, id, 1, size)
	require.NoError(t, err)
	again, err := tier.Create(ctx, id, 1, size)
	require.NoError(t, err)
	require.Equal(t, location, again, "the same attempt has the same location")
	require.Equal(t, []tiers.Found{{Location: location, ID: id, Attempt: 1, Size: size}}, Walk(t, tier))
	require.GreaterOrEqual(t, used(t, tier), size)

	fill(t, tier, location, want)
	require.NoError(t, tier.Seal(ctx, location))
	require.NoError(t, tier.Seal(ctx, location), "sealing twice is sealing once")
	require.Equal(t, []tiers.Found{{Location: location, ID: id, Attempt: 1, Size: size, Sealed: true}}, Walk(t, tier))
	again, err = tier.Create(ctx, id, 1, size)
	require.NoError(t, err)
	require.Equal(t, location, again, "even when it is sealed")
	require.GreaterOrEqual(t, used(t, tier), size)
	require.Equal(t, payload.Sum(want), payload.Sum(Read(t, tier, location)))

	require.NoError(t, tier.Remove(ctx, location))
	require.NoError(t, tier.Remove(ctx, location), "removing nothing does nothing")
	Refused(t, payload.NotFound, tier.Seal(ctx, location))
	_, err = tier.Open(ctx, location)
	Refused(t, payload.NotFound, err)
	require.Empty(t, Walk(t, tier))
	becomesEmpty(t, tier)
}

func unsealed(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 10)
	_, err := tier.Open(t.Context(), location)
	Refused(t, payload.Conflict, err)
	fill(t, tier, location, Bytes(10, 1))
	_, err = tier.Open(t.Context(), location)
	Refused(t, payload.Conflict, err)

	require.NoError(t, tier.Remove(t.Context(), location), "an attempt that was given up")
	require.Empty(t, Walk(t, tier))
	becomesEmpty(t, tier)
}

func sealed(t *testing.T, tier tiers.Tier) {
	location := Sealed(t, tier, Bytes(5000, 1))
	_, err := tier.Fill(t.Context(), location)
	Refused(t, payload.Conflict, err)
}

func unknown(t *testing.T, tier tiers.Tier) {
	ctx := t.Context()
	never := tiers.Label{ID: newID(t), Attempt: 1, Size: 10}.String()
	for _, location := range []string{"", ".", "..", "../../etc/passwd", "filling/x", never, never + "/..", "/" + never} {
		_, err := tier.Open(ctx, location)
		Refused(t, payload.NotFound, err)
		_, err = tier.Fill(ctx, location)
		Refused(t, payload.NotFound, err)
		Refused(t, payload.NotFound, tier.Seal(ctx, location))
		require.NoError(t, tier.Remove(ctx, location))
	}
}

func outside(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 100)
	target, err := tier.Fill(t.Context(), location)
	require.NoError(t, err)
	for _, offset := range []int64{-1, 1, 100, 101, 1 << 40} {
		Refused(t, payload.Invalid, target.WriteAt(t.Context(), make([]byte, 100), offset))
	}
	require.NoError(t, target.WriteAt(t.Context(), make([]byte, 100), 0))
	require.NoError(t, target.Close())
	require.NoError(t, tier.Seal(t.Context(), location))

	source, err := tier.Open(t.Context(), location)
	require.NoError(t, err)
	defer source.Close()
	for _, offset := range []int64{-1, 1, 100, 101, 1 << 40} {
		Refused(t, payload.Invalid, source.ReadAt(t.Context(), make([]byte, 100), offset))
	}
	require.NoError(t, source.ReadAt(t.Context(), make([]byte, 1), 99))
	require.NoError(t, source.ReadAt(t.Context(), nil, 100), "nothing, at the end")
}

func attempts(t *testing.T, tier tiers.Tier) {
	ctx, id := t.Context(), newID(t)
	first, err := tier.Create(ctx, id, 1, 10)
	require.NoError(t, err)
	second, err := tier.Create(ctx, id, 2, 10)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	fill(t, tier, first, []byte("first try."))
	fill(t, tier, second, []byte("second try"))
	require.NoError(t, tier.Seal(ctx, second))
	require.NoError(t, tier.Remove(ctx, first))
	require.Equal(t, "second try", string(Read(t, tier, second)))
}

func full(t *testing.T, tier tiers.Tier) {
	ctx := t.Context()
	location := Create(t, tier, 1<<19)
	_, err := tier.Create(ctx, newID(t), 1, 1<<20)
	Refused(t, payload.Exhausted, err)
	require.Equal(t, payload.TierFull, payload.ReasonOf(err))
	require.Len(t, Walk(t, tier), 1, "what was refused left nothing behind")

	Create(t, tier, 1<<19)
	usage, err := tier.Usage(ctx)
	require.NoError(t, err)
	require.Equal(t, tiers.Usage{Capacity: 1 << 20, Used: 1 << 20}, usage)
	_, err = tier.Create(ctx, newID(t), 1, 1)
	Refused(t, payload.Exhausted, err)

	require.NoError(t, tier.Remove(ctx, location))
	Create(t, tier, 1<<19)
}

func crowd(t *testing.T, tier tiers.Tier) {
	const each, callers = 1 << 18, 16
	results := make([]error, callers)
	ids := make([]payload.ID, callers)
	for i := range ids {
		ids[i] = newID(t)
	}
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { _, results[i] = tier.Create(t.Context(), ids[i], 1, each) })
	}
	all.Wait()
	got := 0
	for _, err := range results {
		if err == nil {
			got++
			continue
		}
		Refused(t, payload.Exhausted, err)
	}
	require.Equal(t, 4, got, "as many as there is room for")
	require.Equal(t, int64(4*each), used(t, tier))
}

func together(t *testing.T, tier tiers.Tier) {
	const callers = 8
	id := newID(t)
	locations := make([]string, callers)
	errs := make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { locations[i], errs[i] = tier.Create(t.Context(), id, 1, 4096) })
	}
	all.Wait()
	for i := range callers {
		require.NoError(t, errs[i])
		require.Equal(t, locations[0], locations[i])
	}
	require.Len(t, Walk(t, tier), 1)
	require.Equal(t, int64(4096), used(t, tier))
}

func stopped(t *testing.T, tier tiers.Tier) {
	Create(t, tier, 1)
	Create(t, tier, 1)
	enough := payload.Errorf(payload.Denied, "enough")
	visits := 0
	err := tier.Walk(t.Context(), func(tiers.Found) error { visits++; return enough })
	require.Equal(t, error(enough), err, "the visitor's own error comes back")
	require.Equal(t, 1, visits)
}

func gaveUp(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 40<<20)
	target, err := tier.Fill(t.Context(), location)
	require.NoError(t, err)
	defer target.Close()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	Refused(t, payload.Unavailable, target.WriteAt(gone, make([]byte, tiers.PieceSize), 0))
}

func restart(t *testing.T, tier tiers.Tier, reopen func(*testing.T, tiers.Tier) tiers.Tier) {
	ctx := t.Context()
	want := Bytes(tiers.PieceSize+1, 3)
	kept := Sealed(t, tier, want)
	unfinished := Create(t, tier, 5000)
	before := used(t, tier)
	found := Walk(t, tier)

	tier = reopen(t, tier)
	require.ElementsMatch(t, found, Walk(t, tier))
	require.Equal(t, before, used(t, tier))
	require.Equal(t, payload.Sum(want), payload.Sum(Read(t, tier, kept)))
	require.NoError(t, tier.Seal(ctx, kept))

	fill(t, tier, unfinished, Bytes(5000, 4))
	require.NoError(t, tier.Seal(ctx, unfinished), "what was begun before can be finished after")
	require.Equal(t, Bytes(5000, 4), Read(t, tier, unfinished))

	tier = reopen(t, tier)
	require.NoError(t, tier.Remove(ctx, kept))
	require.NoError(t, tier.Remove(ctx, unfinished))
	require.Empty(t, Walk(t, tier))
	becomesEmpty(t, tier)
}

// Bytes returns size bytes that differ from one seed to the next.
func Bytes(size int64, seed byte) []byte {
	bytes := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(bytes) // never fails
	return bytes
}

// Create reserves size bytes for a new payload.
func Create(t testing.TB, tier tiers.Tier, size int64) string {
	t.Helper()
	id, err := payload.NewID()
	require.NoError(t, err)
	location, err := tier.Create(t.Context(), id, 1, size)
	require.NoError(t, err)
	return location
}

// Sealed puts bytes into the tier, sealed.
func Sealed(t testing.TB, tier tiers.Tier, bytes []byte) string {
	t.Helper()
	location := Create(t, tier, int64(len(bytes)))
	fill(t, tier, location, bytes)
	require.NoError(t, tier.Seal(t.Context(), location))
	return location
}

// Read returns sealed bytes, read in odd portions.
func Read(t testing.TB, tier tiers.Tier, location string) []byte {
	t.Helper()
	source, err := tier.Open(t.Context(), location)
	require.NoError(t, err)
	defer func() { require.NoError(t, source.Close()) }()
	bytes := make([]byte, source.Size())
	const portion = 10<<20 + 3
	for offset := int64(0); offset < source.Size(); offset += portion {
		end := min(offset+portion, source.Size())
		require.NoError(t, source.ReadAt(t.Context(), bytes[offset:end], offset))
	}
	return bytes
}

// Walk lists what the tier holds.
func Walk(t testing.TB, tier tiers.Tier) (all []tiers.Found) {
	t.Helper()
	require.NoError(t, tier.Walk(t.Context(), func(f tiers.Found) error {
		all = append(all, f)
		return nil
	}))
	return all
}

// Refused checks that an error has a code of ours, and gives nothing away of
// where bytes are.
func Refused(t testing.TB, code payload.Code, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, payload.CodeOf(err), "%v", err)
	require.NotRegexp(t, secret, err.Error())
}

// secret matches paths (but not "input/output error"), URLs, hosts and labels.
var secret = regexp.MustCompile(`(^|[^a-z])/|://|/\S*/|127\.0\.0\.1|localhost|passwd|\.1\.`)

// fill writes all pieces, in parallel, the last one first.
func fill(t testing.TB, tier tiers.Tier, location string, bytes []byte) {
	t.Helper()
	target, err := tier.Fill(t.Context(), location)
	require.NoError(t, err)
	pieces := tiers.Pieces(int64(len(bytes)))
	errs := make([]error, len(pieces))
	var all sync.WaitGroup
	for i := range pieces {
		p := pieces[len(pieces)-1-i]
		all.Go(func() { errs[i] = target.WriteAt(t.Context(), bytes[p.Offset:p.Offset+p.Size], p.Offset) })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, target.Close())
}

func newID(t testing.TB) payload.ID {
	t.Helper()
	id, err := payload.NewID()
	require.NoError(t, err)
	return id
}

func used(t testing.TB, tier tiers.Tier) int64 {
	t.Helper()
	usage, err := tier.Usage(t.Context())
	require.NoError(t, err)
	return usage.Used
}

// becomesEmpty waits: a tier frees off its callers' path.
func becomesEmpty(t testing.TB, tier tiers.Tier) {
	t.Helper()
	require.Eventually(t, func() bool { return used(t, tier) == 0 }, 30*time.Second, time.Millisecond)
}
