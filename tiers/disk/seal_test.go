package disk

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/tiertest"
)

// A worn disk is the real file system but for single steps that fail: no test
// can wear a real one.
type worn struct {
	files
	failSync, failSyncFolder bool
}

func (w *worn) sync(file *os.File) error {
	if w.failSync {
		return unix.EIO
	}
	return w.files.sync(file)
}

func (w *worn) syncFolder(name string) error {
	if w.failSyncFolder {
		return unix.EIO
	}
	return w.files.syncFolder(name)
}

func openWorn(t *testing.T, w *worn) *Tier {
	folder, err := openFolder(t.TempDir())
	require.NoError(t, err)
	w.files = folder
	tier, err := open(Options{}, w)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tier.Close()) })
	return tier
}

// A kernel may report lost pages once and call the next fsync a success.
func TestBytesThatTheDiskLostAreNeverSealed(t *testing.T) {
	disk := &worn{failSync: true}
	tier := openWorn(t, disk)
	location := tiertest.Create(t, tier, 100)
	tiertest.Refused(t, payload.Unavailable, tier.Seal(t.Context(), location))

	disk.failSync = false
	tiertest.Refused(t, payload.Corrupt, tier.Seal(t.Context(), location))
	_, err := tier.Open(t.Context(), location)
	tiertest.Refused(t, payload.Conflict, err)
	require.NoError(t, tier.Remove(t.Context(), location))
}

func TestSealRepeatsWhatIsNotDurableYet(t *testing.T) {
	disk := &worn{}
	tier := openWorn(t, disk)
	location := tiertest.Create(t, tier, 100)
	disk.failSyncFolder = true
	for range 2 {
		tiertest.Refused(t, payload.Unavailable, tier.Seal(t.Context(), location))
	}
	disk.failSyncFolder = false
	require.NoError(t, tier.Seal(t.Context(), location))
	require.Len(t, tiertest.Read(t, tier, location), 100)
}
