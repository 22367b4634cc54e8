package postgres_test

import (
	"context"
	"errors"
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

func allocated(t testing.TB, name string) catalog.Step {
	id, err := payload.NewID()
	require.NoError(t, err)
	record := payload.Payload{ID: id, Namespace: "n", Name: name, State: payload.StateAllocated, Version: 1}
	return catalog.Step{Op: "allocate", ID: id, If: catalog.If{Absent: true}, Then: catalog.Then{Create: &record, Wake: true}}
}

func TestATextThatPostgresCannotHoldFailsItsOwnStepAlone(t *testing.T) {
	s := open(t, database(t))
	failures := make([]error, 64)
	var everyone sync.WaitGroup
	for i := range failures {
		name := fmt.Sprint(i)
		if i == 7 {
			name = "a \x00 byte"
		}
		step := allocated(t, name)
		everyone.Go(func() { _, failures[i] = s.Do(context.Background(), step) })
	}
	everyone.Wait()
	for i, err := range failures {
		if i == 7 {
			require.ErrorIs(t, err, payload.Invalid)
			continue
		}
		require.NoError(t, err)
	}
}

func TestAnOutageIsSaidAndSurvived(t *testing.T) {
	ctx := context.Background()
	own, err := servers.StartPostgres(ctx, servers.PostgresOptions{})
	require.NoError(t, err)
	t.Cleanup(own.Stop)
	s := open(t, own.DSN)
	before := allocated(t, "before")
	_, err = s.Do(ctx, before)
	require.NoError(t, err)

	own.Kill()
	_, err = s.Do(ctx, allocated(t, "meanwhile"))
	unavailable(t, err)
	_, err = s.Get(ctx, before.ID)
	unavailable(t, err)
	unavailable(t, s.PutHost(ctx, catalog.Host{Name: "here"}))
	unavailable(t, s.Settle(ctx, []catalog.Entry{{Seq: 1}}, ""))

	require.NoError(t, own.Restart(ctx))
	_, err = s.Get(ctx, before.ID)
	require.NoError(t, err)
	_, err = s.Do(ctx, allocated(t, "after"))
	require.NoError(t, err)
}

func unavailable(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, payload.Unavailable)
	known, _ := errors.AsType[*payload.Error](err)
	require.Positive(t, known.RetryAfter)
	require.NotContains(t, err.Error(), "/")
}
