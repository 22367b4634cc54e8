package postgres_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/catalogtest"
	"github.com/payload-manager/payload-manager/catalog/postgres"
	"github.com/payload-manager/payload-manager/deploy/servers"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var server *servers.Postgres

func TestMain(m *testing.M) {
	var err error
	server, err = servers.StartPostgres(context.Background(), servers.PostgresOptions{NoSync: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

func database(t testing.TB) (dsn string) {
	dsn, err := server.NewDatabase(context.Background())
	require.NoError(t, err)
	return dsn
}

func open(t testing.TB, dsn string) catalog.Store {
	s, err := postgres.Open(context.Background(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	catalogtest.RunStore(t, func(t *testing.T) catalog.Store { return open(t, database(t)) })
}

func TestReopenedStoreGoesOn(t *testing.T) {
	dsn := database(t)
	catalogtest.RunDurable(t, func(t *testing.T) catalog.Store { return open(t, dsn) })
}

func TestTwoDaemonsOnOneDatabase(t *testing.T) {
	catalogtest.RunShared(t, func(t *testing.T) (a, b catalog.Store) {
		dsn := database(t)
		return open(t, dsn), open(t, dsn)
	})
}

func TestDaemonsThatOpenAtOnceMigrateOnce(t *testing.T) {
	dsn := database(t)
	var everyone sync.WaitGroup
	failures := make([]error, 8)
	for i := range failures {
		everyone.Go(func() {
			s, err := postgres.Open(context.Background(), dsn)
			if failures[i] = err; err == nil {
				failures[i] = s.Close()
			}
		})
	}
	everyone.Wait()
	for _, err := range failures {
		require.NoError(t, err)
	}
}

func TestAnAddressIsNeverRepeated(t *testing.T) {
	for dsn, code := range map[string]payload.Code{
		"postgres://user:secret@host:notaport/x":     payload.Invalid,
		"host=/nowhere user=someone password=secret": payload.Unavailable,
	} {
		_, err := postgres.Open(context.Background(), dsn)
		require.ErrorIs(t, err, code)
		require.NotRegexp(t, "secret|someone|nowhere|user:", err.Error())
	}
}

func BenchmarkStore(b *testing.B) {
	catalogtest.BenchStore(b, func(b *testing.B) catalog.Store { return open(b, database(b)) })
}
