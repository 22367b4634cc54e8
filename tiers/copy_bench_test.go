package tiers_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
)

const gibibyte = 1 << 30

// BenchmarkMove is a whole move of 1 GiB, from reserving to sealing, checksum
// included, beside what cp and fsync do between files of the same file systems.
// Reads from the disk are cold, as after a restart, and warm.
func BenchmarkMove(b *testing.B) {
	b.Run("ram to disk/payload", func(b *testing.B) { benchmarkMove(b, payload.RAM, payload.Disk, false) })
	b.Run("ram to disk/cp", func(b *testing.B) { benchmarkFiles(b, shm(b), b.TempDir(), false) })
	b.Run("cold disk to ram/payload", func(b *testing.B) { benchmarkMove(b, payload.Disk, payload.RAM, true) })
	b.Run("cold disk to ram/cp", func(b *testing.B) { benchmarkFiles(b, b.TempDir(), shm(b), true) })
	b.Run("warm disk to ram/payload", func(b *testing.B) { benchmarkMove(b, payload.Disk, payload.RAM, false) })
	b.Run("warm disk to ram/cp", func(b *testing.B) { benchmarkFiles(b, b.TempDir(), shm(b), false) })
}

func benchmarkMove(b *testing.B, from, to payload.Tier, cold bool) {
	files, err := disk.Open(disk.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	set := tiers.NewSet(ram.New(ram.Options{}), files)
	defer set.Close()
	h := host{Set: set}
	source := tiertest.Sealed(b, h.tier(b, from), tiertest.Bytes(gibibyte, 1))
	if from == payload.Disk {
		file, err := files.Readable(b.Context(), source)
		require.NoError(b, err)
		defer file.Close()
		prepare := func() { warmth(b, file, cold) }
		moves(b, h, tiers.Copy{From: from, Source: source, To: to, Size: gibibyte}, prepare)
		return
	}
	moves(b, h, tiers.Copy{From: from, Source: source, To: to, Size: gibibyte}, func() {})
}

func moves(b *testing.B, h host, c tiers.Copy, prepare func()) {
	id, err := payload.NewID()
	require.NoError(b, err)
	target := h.tier(b, c.To)
	b.SetBytes(gibibyte)
	for attempt := uint64(1); b.Loop(); attempt++ {
		b.StopTimer()
		prepare()
		b.StartTimer()
		c.Target, err = target.Create(b.Context(), id, attempt, c.Size)
		require.NoError(b, err)
		_, err = h.Copy(b.Context(), c, nil)
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, target.Remove(b.Context(), c.Target))
		freed(b, target)
		b.StartTimer()
	}
}

// freed returns when the tier has freed what was removed, so that it does not
// do so during the next round.
func freed(b *testing.B, tier tiers.Tier) {
	for {
		usage, err := tier.Usage(b.Context())
		require.NoError(b, err)
		if usage.Used == 0 {
			return
		}
	}
}

// benchmarkFiles copies as cp does, by a kernel-to-kernel copy where the file
// systems have one, and through a buffer of 256 KiB where not.
func benchmarkFiles(b *testing.B, from, to string, cold bool) {
	source := filepath.Join(from, "source")
	require.NoError(b, os.WriteFile(source, tiertest.Bytes(gibibyte, 1), 0o600))
	in, err := os.Open(source)
	require.NoError(b, err)
	defer in.Close()
	require.NoError(b, unix.Fsync(int(in.Fd())))
	b.SetBytes(gibibyte)
	for b.Loop() {
		b.StopTimer()
		warmth(b, in, cold)
		b.StartTimer()
		target := filepath.Join(to, "target")
		copyFile(b, in, target)
		b.StopTimer()
		require.NoError(b, os.Remove(target))
		b.StartTimer()
	}
}

func copyFile(b *testing.B, in *os.File, name string) {
	out, err := os.Create(name)
	require.NoError(b, err)
	defer out.Close()
	_, err = in.Seek(0, io.SeekStart)
	require.NoError(b, err)
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 256<<10))
	require.NoError(b, err)
	require.NoError(b, out.Sync())
}

// warmth puts a file into the page cache, or takes it out.
func warmth(b *testing.B, file *os.File, cold bool) {
	if cold {
		require.NoError(b, unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
		return
	}
	_, err := io.Copy(io.Discard, io.NewSectionReader(file, 0, gibibyte))
	require.NoError(b, err)
}

func shm(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "bench-")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	return dir
}
