package disk_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTier(t *testing.T) { run(t, func(t *testing.T) string { return t.TempDir() }) }

// A file system in memory has other habits: how it takes direct I/O, for one.
func TestTierInMemory(t *testing.T) {
	var stat unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &stat); err != nil || stat.Type != unix.TMPFS_MAGIC {
		t.Skip("there is no tmpfs at /dev/shm")
	}
	run(t, func(t *testing.T) string {
		dir, err := os.MkdirTemp("/dev/shm", "disk-tier-")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		return dir
	})
}

func run(t *testing.T, folder func(*testing.T) string) {
	dirs := map[tiers.Tier]string{}
	open := func(t *testing.T, dir string, capacity int64) tiers.Tier {
		tier, err := disk.Open(disk.Options{Dir: dir, Capacity: capacity})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, tier.Close()) })
		dirs[tier] = dir
		return tier
	}
	tiertest.Run(t,
		func(t *testing.T, capacity int64) tiers.Tier { return open(t, folder(t), capacity) },
		tiertest.Features{Reopen: func(t *testing.T, tier tiers.Tier) tiers.Tier {
			require.NoError(t, tier.Close())
			return open(t, dirs[tier], 0)
		}})
}

func TestTheFolderOpensToItsOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	tier := opened(t, disk.Options{Dir: dir})
	unsealed := tiertest.Create(t, tier, 10)
	sealed := tiertest.Sealed(t, tier, []byte("sealed"))

	for name, mode := range modes(t, dir) {
		switch {
		case strings.HasSuffix(name, unsealed):
			require.Equal(t, fs.FileMode(0o600), mode, name)
		case strings.HasSuffix(name, sealed):
			require.Equal(t, fs.FileMode(0o400), mode, name)
		default:
			require.Equal(t, fs.ModeDir|0o700, mode, name)
		}
	}
}

func TestALinkOutOfTheFolderIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	tier := opened(t, disk.Options{Dir: dir})
	location := tiertest.Sealed(t, tier, []byte("ours"))
	path := fileOf(t, dir, location)
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("not ours"), 0o600))
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink(outside, path))

	_, err := tier.Open(t.Context(), location)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "/")
	require.Error(t, tier.Remove(t.Context(), location))
	require.FileExists(t, outside)
}

// A reservation that a crash interrupted holds nobody's bytes.
func TestOpenSweepsUnfinishedReservations(t *testing.T) {
	dir := t.TempDir()
	location := tiertest.Create(t, opened(t, disk.Options{Dir: dir}), 4096)
	path := fileOf(t, dir, location)
	require.NoError(t, os.Rename(path, path+".new"))

	tier := opened(t, disk.Options{Dir: dir})
	require.Empty(t, tiertest.Walk(t, tier))
	require.NoFileExists(t, path+".new")
}

func TestAFileOfTheWrongLengthIsRefused(t *testing.T) {
	dir := t.TempDir()
	tier := opened(t, disk.Options{Dir: dir})

	cut := tiertest.Create(t, tier, 100)
	require.NoError(t, os.Truncate(fileOf(t, dir, cut), 99))
	tiertest.Refused(t, payload.Invalid, tier.Seal(t.Context(), cut))

	sealed := tiertest.Sealed(t, tier, tiertest.Bytes(5000, 1))
	require.NoError(t, os.Truncate(fileOf(t, dir, sealed), 4096))
	_, err := tier.Open(t.Context(), sealed)
	tiertest.Refused(t, payload.Corrupt, err)
}

func TestAFileThatVanishedIsNotFound(t *testing.T) {
	dir := t.TempDir()
	tier := opened(t, disk.Options{Dir: dir})
	location := tiertest.Sealed(t, tier, []byte("taken away"))
	require.NoError(t, os.Remove(fileOf(t, dir, location)))

	_, err := tier.Open(t.Context(), location)
	tiertest.Refused(t, payload.NotFound, err)
	require.Empty(t, tiertest.Walk(t, tier), "Walk tells what is there, not what was")
	require.NoError(t, tier.Remove(t.Context(), location))
	usage, err := tier.Usage(t.Context())
	require.NoError(t, err)
	require.Zero(t, usage.Used)
}

func TestCapacityEndsWhereTheFileSystemDoes(t *testing.T) {
	dir := t.TempDir()
	tier := opened(t, disk.Options{Dir: dir, Capacity: 1 << 62})
	usage, err := tier.Usage(t.Context())
	require.NoError(t, err)
	require.Less(t, usage.Capacity, int64(1<<62))

	id, err := payload.NewID()
	require.NoError(t, err)
	_, err = tier.Create(t.Context(), id, 1, 1<<50)
	require.Error(t, err)
	require.Empty(t, tiertest.Walk(t, tier))
	require.Empty(t, files(t, dir), "what could not be reserved left nothing behind")
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	tier := opened(t, disk.Options{Dir: dir})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "filling", "notes"), nil, 0o600))
	require.Empty(t, tiertest.Walk(t, tier))
	opened(t, disk.Options{Dir: dir})
	require.FileExists(t, filepath.Join(dir, "filling", "notes"))
}

func TestNothingIsLoggedWhereLeasesWork(t *testing.T) {
	var log bytes.Buffer
	tier := opened(t, disk.Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	tiertest.Sealed(t, tier, []byte("sealed"))
	if log.Len() > 0 {
		require.NotContains(t, log.String(), "/")
		t.Skip("this file system grants no leases, and the tier said so")
	}
}

func opened(t *testing.T, o disk.Options) *disk.Tier {
	tier, err := disk.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tier.Close()) })
	return tier
}

func fileOf(t *testing.T, dir, location string) string {
	for name := range modes(t, dir) {
		if filepath.Base(name) == location {
			return name
		}
	}
	require.Fail(t, "there is no such file")
	return ""
}

func files(t *testing.T, dir string) (names []string) {
	for name, mode := range modes(t, dir) {
		if mode.IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

func modes(t *testing.T, dir string) map[string]fs.FileMode {
	all := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all[name] = info.Mode()
		return err
	}))
	return all
}
