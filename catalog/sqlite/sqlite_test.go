package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/catalogtest"
	"github.com/payload-manager/payload-manager/catalog/sqlite"
)

func open(t testing.TB, path string) catalog.Store {
	s, err := sqlite.Open(context.Background(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	catalogtest.RunStore(t, func(t *testing.T) catalog.Store {
		return open(t, filepath.Join(t.TempDir(), "catalog.db"))
	})
}

func TestReopenedStoreGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a path with ?, % and #.db")
	catalogtest.RunDurable(t, func(t *testing.T) catalog.Store { return open(t, path) })
}

func TestTwoProcessesOnOneFileWaitForEachOther(t *testing.T) {
	catalogtest.RunShared(t, func(t *testing.T) (a, b catalog.Store) {
		path := filepath.Join(t.TempDir(), "catalog.db")
		return open(t, path), open(t, path)
	})
}

func BenchmarkStore(b *testing.B) {
	catalogtest.BenchStore(b, func(b *testing.B) catalog.Store {
		return open(b, filepath.Join(b.TempDir(), "catalog.db"))
	})
}
