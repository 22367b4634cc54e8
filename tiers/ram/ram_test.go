package ram_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTier(t *testing.T) {
	tiertest.Run(t, open, tiertest.Features{AgainstRoot: true})
}

func open(t *testing.T, capacity int64) tiers.Tier {
	tier := ram.New(ram.Options{Capacity: capacity})
	t.Cleanup(func() { require.NoError(t, tier.Close()) })
	return tier
}

// A client could cut its memfd short, and kill whoever maps it by SIGBUS.
func TestAClientCannotChangeTheLength(t *testing.T) {
	tier := ram.New(ram.Options{})
	defer tier.Close()
	file, err := tier.Writable(t.Context(), tiertest.Create(t, tier, 8192))
	require.NoError(t, err)
	defer file.Close()
	require.Error(t, file.Truncate(0))
	require.Error(t, file.Truncate(1<<20))
}

// It could also give its pages back before the seal, and leave holes in which
// readers meet SIGBUS once memory is short.
func TestHolesAreFilledBySeal(t *testing.T) {
	tier := ram.New(ram.Options{})
	defer tier.Close()
	const size = 1 << 20
	location := tiertest.Create(t, tier, size)
	writer, err := tier.Writable(t.Context(), location)
	require.NoError(t, err)
	defer writer.Close()
	_, err = writer.WriteString("kept")
	require.NoError(t, err)
	require.NoError(t, unix.Fallocate(int(writer.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, size-4096))

	require.NoError(t, tier.Seal(t.Context(), location))
	var stat unix.Stat_t
	require.NoError(t, unix.Fstat(int(writer.Fd()), &stat))
	require.GreaterOrEqual(t, stat.Blocks*512, int64(size))
	require.Error(t, unix.Fallocate(int(writer.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size))
	require.Equal(t, "kept", string(tiertest.Read(t, tier, location)[:4]))
}

func TestMemoryIsForgottenWithTheTier(t *testing.T) {
	tier := ram.New(ram.Options{})
	location := tiertest.Sealed(t, tier, []byte("held by its reader"))
	file, err := tier.Readable(t.Context(), location)
	require.NoError(t, err)
	defer file.Close()

	require.NoError(t, tier.Close())
	_, err = tier.Open(t.Context(), location)
	tiertest.Refused(t, payload.NotFound, err)
	var held [4]byte
	_, err = file.ReadAt(held[:], 0)
	require.NoError(t, err, "a reader keeps what it has")
	require.Equal(t, "held", string(held[:]))
}
