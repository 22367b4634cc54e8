package tiertest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

func runFiler(t *testing.T, open Open, f Features) {
	for _, size := range Sizes() {
		t.Run(fmt.Sprintf("a client writes and reads %d bytes", size), func(t *testing.T) { clients(t, open(t, 0), size) })
	}
	t.Run("a descriptor only at its time", func(t *testing.T) { descriptorInTime(t, open(t, 0)) })
	t.Run("a writer that still maps", func(t *testing.T) { stillMapped(t, open(t, 0)) })
	t.Run("nobody writes what is sealed", func(t *testing.T) { immutable(t, open(t, 0), f) })
	t.Run("a reader outlives its payload", func(t *testing.T) { outlives(t, open(t, 1<<20), keepDescriptor) })
	t.Run("a mapping outlives its payload", func(t *testing.T) { outlives(t, open(t, 1<<20), keepMapping) })
	t.Run("a writer whose payload was given up", func(t *testing.T) { writerOutlives(t, open(t, 0)) })
}

func clients(t *testing.T, tier tiers.Tier, size int64) {
	location, want := Create(t, tier, size), Bytes(size, 2)
	writeAsClient(t, tier, location, want)
	require.NoError(t, tier.Seal(t.Context(), location))

	file, err := tier.(tiers.Filer).Readable(t.Context(), location)
	require.NoError(t, err)
	defer file.Close()
	got, unmap := mapped(t, file, size, unix.PROT_READ)
	defer unmap()
	require.Equal(t, payload.Sum(want), payload.Sum(got))
	require.Equal(t, payload.Sum(want), payload.Sum(Read(t, tier, location)))
}

func descriptorInTime(t *testing.T, tier tiers.Tier) {
	ctx, filer := t.Context(), tier.(tiers.Filer)
	location := Create(t, tier, 100)
	_, err := filer.Readable(ctx, location)
	Refused(t, payload.Conflict, err)
	require.NoError(t, tier.Seal(ctx, location))
	_, err = filer.Writable(ctx, location)
	Refused(t, payload.Conflict, err)
	require.NoError(t, tier.Remove(ctx, location))
	_, err = filer.Writable(ctx, location)
	Refused(t, payload.NotFound, err)
	_, err = filer.Readable(ctx, location)
	Refused(t, payload.NotFound, err)
}

// stillMapped: the descriptor is closed, the mapping alone is left.
func stillMapped(t *testing.T, tier tiers.Tier) {
	ctx := t.Context()
	location := Create(t, tier, 8192)
	file, err := tier.(tiers.Filer).Writable(ctx, location)
	require.NoError(t, err)
	bytes, unmap := mapped(t, file, 8192, unix.PROT_READ|unix.PROT_WRITE)
	require.NoError(t, file.Close())
	bytes[0] = 1

	for range 2 {
		err = tier.Seal(ctx, location)
		Refused(t, payload.Busy, err)
		require.Equal(t, payload.StillMapped, payload.ReasonOf(err))
	}
	bytes[1] = 2 // a refused seal has not hurt the writer
	unmap()
	require.NoError(t, tier.Seal(ctx, location))
	require.Equal(t, []byte{1, 2, 0}, Read(t, tier, location)[:3])
}

func immutable(t *testing.T, tier tiers.Tier, f Features) {
	want := Bytes(8192, 5)
	location := Sealed(t, tier, want)
	file, err := tier.(tiers.Filer).Readable(t.Context(), location)
	require.NoError(t, err)
	defer file.Close()
	fd := int(file.Fd())

	_, err = unix.Pwrite(fd, []byte{1}, 0)
	require.Error(t, err, "pwrite")
	require.Error(t, unix.Ftruncate(fd, 0), "truncate")
	_, err = unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.Error(t, err, "a new writable mapping")
	bytes, unmap := mapped(t, file, 8192, unix.PROT_READ)
	defer unmap()
	require.Error(t, unix.Mprotect(bytes, unix.PROT_READ|unix.PROT_WRITE), "mprotect")

	as := asAnotherUser
	if f.AgainstRoot {
		as = asOneself
	}
	as(t, func() { tryReopened(t, fd) })
	require.Equal(t, want, Read(t, tier, location))
}

// tryReopened opens the descriptor's name in /proc to write, as anybody may
// whom the file's mode admits.
func tryReopened(t *testing.T, fd int) {
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return // refused at the door
	}
	defer unix.Close(again)
	_, err = unix.Pwrite(again, []byte{1}, 0)
	require.Error(t, err, "pwrite")
	require.Error(t, unix.Ftruncate(again, 1), "cut")
	require.Error(t, unix.Ftruncate(again, 1<<20), "stretch")
	_, err = unix.Mmap(again, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.Error(t, err, "a writable mapping")
}

func asOneself(_ *testing.T, act func()) { act() }

// asAnotherUser acts with the rights of a user who is not the daemon's. The
// thread is not used again.
func asAnotherUser(t *testing.T, act func()) {
	if os.Getuid() != 0 {
		t.Log("not root: the tier's own user is trusted, and no other is at hand")
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			t.Error("another user's rights: ", err)
			return
		}
		act()
	}()
	<-done
}

// outlives: what a reader has open stays readable after Remove, and counts
// until it is let go.
func outlives(t *testing.T, tier tiers.Tier, keep func(*testing.T, *os.File, int64) (read func() byte, letGo func())) {
	ctx, size := t.Context(), int64(1<<20)
	want := Bytes(size, 6)
	location := Sealed(t, tier, want)
	file, err := tier.(tiers.Filer).Readable(ctx, location)
	require.NoError(t, err)
	read, letGo := keep(t, file, size)

	require.NoError(t, tier.Remove(ctx, location))
	require.Empty(t, Walk(t, tier))
	require.Equal(t, size, used(t, tier))
	_, err = tier.Create(ctx, newID(t), 1, 1)
	Refused(t, payload.Exhausted, err)
	require.Equal(t, want[size-1], read())

	letGo()
	Create(t, tier, size) // the room is there again, without waiting for anything
}

func keepDescriptor(t *testing.T, file *os.File, size int64) (func() byte, func()) {
	duplicate, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	read := func() byte {
		var last [1]byte
		_, err := unix.Pread(duplicate, last[:], size-1)
		require.NoError(t, err)
		return last[0]
	}
	return read, func() { require.NoError(t, unix.Close(duplicate)) }
}

func keepMapping(t *testing.T, file *os.File, size int64) (func() byte, func()) {
	bytes, unmap := mapped(t, file, size, unix.PROT_READ)
	require.NoError(t, file.Close())
	return func() byte { return bytes[size-1] }, unmap
}

func writerOutlives(t *testing.T, tier tiers.Tier) {
	location := Create(t, tier, 4096)
	file, err := tier.(tiers.Filer).Writable(t.Context(), location)
	require.NoError(t, err)
	require.NoError(t, tier.Remove(t.Context(), location))
	require.Equal(t, int64(4096), used(t, tier), "its pages are still in use")
	require.NoError(t, file.Close())
	becomesEmpty(t, tier)
}

func writeAsClient(t *testing.T, tier tiers.Tier, location string, want []byte) {
	t.Helper()
	file, err := tier.(tiers.Filer).Writable(t.Context(), location)
	require.NoError(t, err)
	require.NotContains(t, file.Name(), "/", "a descriptor's name tells no path")
	bytes, unmap := mapped(t, file, int64(len(want)), unix.PROT_READ|unix.PROT_WRITE)
	copy(bytes, want)
	unmap()
	require.NoError(t, file.Close())
}

// mapped maps a client's descriptor. There is no mapping of no bytes.
func mapped(t *testing.T, file *os.File, size int64, protection int) (bytes []byte, unmap func()) {
	t.Helper()
	if size == 0 {
		return nil, func() {}
	}
	bytes, err := unix.Mmap(int(file.Fd()), 0, int(size), protection, unix.MAP_SHARED)
	require.NoError(t, err)
	return bytes, func() { require.NoError(t, unix.Munmap(bytes)) }
}
