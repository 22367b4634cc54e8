package placement_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// writable is a producer that holds its bytes mapped, and its file no more.
type writable struct{ bytes []byte }

func mapWritable(t *testing.T, r *rig, token payload.Token) writable {
	t.Helper()
	opened, err := r.OpenToken(t.Context(), token)
	require.NoError(t, err)
	bytes, err := unix.Mmap(int(opened.File.Fd()), opened.Offset, int(opened.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, opened.Close())
	return writable{bytes}
}

func (w writable) letGo(t *testing.T) {
	t.Helper()
	require.NoError(t, unix.Munmap(w.bytes))
}
