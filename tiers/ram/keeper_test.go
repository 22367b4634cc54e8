package ram_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
	"github.com/payload-manager/payload-manager/worker/vault"
)

// A keptTier is a tier with the real vault behind it.
type keptTier struct {
	*ram.Tier
	client *vault.Client
	socket string
	vault  *vault.Server
}

func openVault(t testing.TB, socket string) *vault.Server {
	t.Helper()
	server, err := vault.Listen(socket, slog.New(slog.NewTextHandler(io.Discard, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

func connect(t testing.TB, socket string) *vault.Client {
	t.Helper()
	client, err := vault.Dial(t.Context(), socket, vault.Owner{1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func openKept(t testing.TB, capacity int64) *keptTier {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "vault.sock")
	server := openVault(t, socket)
	return reopenKept(t, &keptTier{socket: socket, vault: server}, capacity)
}

func reopenKept(t testing.TB, k *keptTier, capacity int64) *keptTier {
	t.Helper()
	client := connect(t, k.socket)
	tier, err := ram.Open(t.Context(), client, ram.Options{Capacity: capacity, Look: 5 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tier.Close()) })
	return &keptTier{tier, client, k.socket, k.vault}
}

// again ends a tier as a daemon ends that is killed: nothing is let go of in an
// orderly way but what the kernel does.
func (k *keptTier) again(t testing.TB) *keptTier {
	t.Helper()
	require.NoError(t, k.client.Close())
	require.NoError(t, k.Close())
	return reopenKept(t, k, 0)
}

func (k *keptTier) used(t testing.TB) int64 {
	t.Helper()
	usage, err := k.Usage(t.Context())
	require.NoError(t, err)
	return usage.Used
}

// kept counts what the vault holds.
func (k *keptTier) kept(t testing.TB) (labels []string) {
	t.Helper()
	require.NoError(t, k.client.List(t.Context(), func(label string, _ int64, _, _ bool) error {
		labels = append(labels, label)
		return nil
	}))
	return labels
}

func TestATierWithAKeeper(t *testing.T) {
	tiertest.Run(t,
		func(t *testing.T, capacity int64) tiers.Tier { return openKept(t, capacity) },
		tiertest.Features{
			AgainstRoot: true,
			Reopen:      func(t *testing.T, tier tiers.Tier) tiers.Tier { return tier.(*keptTier).again(t) },
		})
}

func TestWhatIsRemovedIsForgottenByTheVault(t *testing.T) {
	tier := openKept(t, 0)
	for range 10 {
		require.NoError(t, tier.Remove(t.Context(), tiertest.Sealed(t, tier, []byte("short"))))
	}
	require.Eventually(t, func() bool { return tier.used(t) == 0 }, 10*time.Second, time.Millisecond)
	require.Empty(t, tier.kept(t))
}

// A reader outlives its payload, and two daemons.
func TestReadersOfRemovedBytesCountAcrossARestart(t *testing.T) {
	tier := openKept(t, 0)
	const size = 1 << 20
	location := tiertest.Sealed(t, tier, tiertest.Bytes(size, 1))
	file, err := tier.Readable(t.Context(), location)
	require.NoError(t, err)
	mapping, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, tier.Remove(t.Context(), location))

	for range 2 {
		tier = tier.again(t)
		require.Empty(t, tiertest.Walk(t, tier), "it is removed")
		require.EqualValues(t, size, tier.used(t), "and still in use")
	}
	require.Equal(t, tiertest.Bytes(size, 1), mapping)
	require.NoError(t, unix.Munmap(mapping))
	require.Eventually(t, func() bool { return tier.used(t) == 0 }, 10*time.Second, time.Millisecond)
	require.Empty(t, tier.kept(t))
}

func TestARemoveBeforeAnyUseFreesWhatAnEarlierDaemonMade(t *testing.T) {
	tier := openKept(t, 0)
	location := tiertest.Sealed(t, tier, tiertest.Bytes(1<<20, 1))
	tier = tier.again(t)
	require.NoError(t, tier.Remove(t.Context(), location))
	require.Eventually(t, func() bool { return tier.used(t) == 0 }, 10*time.Second, time.Millisecond)
	require.Empty(t, tier.kept(t))
}

// A writer that maps its memory goes on writing while the daemon is replaced;
// the new one sees that it has not let go.
func TestAWriterOutlivesTheDaemon(t *testing.T) {
	tier := openKept(t, 0)
	location := tiertest.Create(t, tier, 4096)
	file, err := tier.Writable(t.Context(), location)
	require.NoError(t, err)
	mapping, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	copy(mapping, "before")

	tier = tier.again(t)
	copy(mapping[6:], " and after")
	tiertest.Refused(t, payload.Busy, tier.Seal(t.Context(), location))
	require.NoError(t, unix.Munmap(mapping))
	require.NoError(t, tier.Seal(t.Context(), location))
	require.Equal(t, "before and after", string(tiertest.Read(t, tier, location)[:16]))
}

// The vault dies under a living daemon: what the daemon has open goes to the
// next vault, and what only the old one had is named.
func TestANewKeeperGetsAllThatIsOpen(t *testing.T) {
	tier := openKept(t, 0)
	used := tiertest.Sealed(t, tier, []byte("used since the restart"))
	idle := tiertest.Sealed(t, tier, []byte("not used since"))
	tier = tier.again(t)
	fresh := tiertest.Create(t, tier, 10)
	before := tiertest.Read(t, tier, used)

	require.NoError(t, tier.vault.Close())
	<-tier.client.Done()
	id, err := payload.NewID()
	require.NoError(t, err)
	_, err = tier.Create(t.Context(), id, 1, 10)
	tiertest.Refused(t, payload.Unavailable, err)
	require.Equal(t, before, tiertest.Read(t, tier, used), "what is here is served")
	require.Equal(t, payload.Unavailable, payload.CodeOf(tier.Remove(t.Context(), used)))

	openVault(t, tier.socket)
	tier.client = connect(t, tier.socket)
	lost, err := tier.Rekeep(t.Context(), tier.client)
	require.NoError(t, err)
	require.Len(t, lost, 1)
	require.Equal(t, idle, lost[0].Location)
	require.ElementsMatch(t, []string{used, fresh}, tier.kept(t))
	_, err = tier.Open(t.Context(), idle)
	tiertest.Refused(t, payload.NotFound, err)
	require.EqualValues(t, 2*4096, tier.used(t))

	tier = tier.again(t)
	require.Equal(t, before, tiertest.Read(t, tier, used))
}

func TestTheVaultsStraysAreForgotten(t *testing.T) {
	tier := openKept(t, 0)
	fd, err := unix.MemfdCreate("stray", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	stray := os.NewFile(uintptr(fd), "stray")
	defer stray.Close()
	id, err := payload.NewID()
	require.NoError(t, err)
	require.NoError(t, tier.client.Keep(t.Context(), tiers.Label{ID: id, Attempt: 1}.String(), stray))
	require.NoError(t, tier.client.Keep(t.Context(), "no segment", stray))

	tier.client = connect(t, tier.socket)
	lost, err := tier.Rekeep(t.Context(), tier.client)
	require.NoError(t, err)
	require.Empty(t, lost)
	require.Equal(t, []string{"no segment"}, tier.kept(t), "what is not a segment's is none of ours")
}

// BenchmarkCreate empties the tier off the clock now and then.
func BenchmarkCreate(b *testing.B) {
	for name, open := range map[string]func() *ram.Tier{
		"alone":  func() *ram.Tier { return ram.New(ram.Options{}) },
		"keeper": func() *ram.Tier { return openKept(b, 0).Tier },
	} {
		b.Run(name, func(b *testing.B) { benchmarkCreate(b, open()) })
	}
}

func benchmarkCreate(b *testing.B, tier *ram.Tier) {
	defer tier.Close()
	const few = 2000
	var made []string
	for b.Loop() {
		id, err := payload.NewID()
		require.NoError(b, err)
		location, err := tier.Create(b.Context(), id, 1, 4096)
		require.NoError(b, err)
		if made = append(made, location); len(made) == few {
			b.StopTimer()
			for _, location := range made {
				require.NoError(b, tier.Remove(b.Context(), location))
			}
			made = made[:0]
			b.StartTimer()
		}
	}
}
