// Package postgres keeps the catalog's records in a PostgreSQL database that
// many daemons share.
//
// # Concurrency
//
// Each daemon sends its steps in batches (package batch): one round trip locks
// and loads the payloads of a batch in the order of their ids, so that two
// daemons wait for each other and never in a circle; a second one writes and
// commits. What collides all the same, such as two daemons that create one
// payload or keep one request, is tried again from the start, and then judged
// against what the other daemon wrote. No caller meets a serialization failure.
//
// # Durability
//
// The server's: a step is answered after COMMIT, so it is as durable as
// synchronous_commit says. A connection that breaks around COMMIT leaves the
// outcome unknown; its callers get Unavailable.
//
// # What it leaves out
//
// Notifications. Readers of the outbox poll.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/catalog/rows"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

//go:embed migrations/*.sql
var migrations embed.FS

// connections is how many the pool opens at most: one for the writer, and
// enough for the readers of one daemon. PostgreSQL allows 100 in all by default.
const connections = 10

// A Store is a catalog.Store in a PostgreSQL database.
type Store struct {
	pool   *pgxpool.Pool
	loop   *batch.Loop
	closed atomic.Bool
	close  sync.Once
}

var _ catalog.Store = (*Store)(nil)

// Open connects to the database, which has to exist, and brings its schema up
// to date. Daemons that open one database at the same time wait for each
// other's migrations. A dsn is a URL or the keywords of libpq; an error never
// repeats it.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, err := configure(dsn)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, config); err != nil {
		return nil, failed(ctx, "open", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, failed(ctx, "open", err)
	}
	s := &Store{pool: pool}
	s.loop = batch.Start(s.carry, nil)
	return s, nil
}

func configure(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, payload.Errorf(payload.Invalid, "the catalog's address cannot be read: use postgres://user@host/database")
	}
	config.MaxConns = connections
	given := config.ConnConfig.RuntimeParams
	given["application_name"] = "payload-manager"
	// A daemon whose machine vanishes in mid-transaction holds locks that the
	// others wait for; its session ends itself after this many milliseconds.
	given["idle_in_transaction_session_timeout"] = "15000"
	return config, nil
}

func migrate(ctx context.Context, config *pgxpool.Config) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config.ConnConfig)
	defer db.Close() // nothing is under way
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(turn{}),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// A turn is the advisory lock under which one daemon at a time migrates. It
// ends with the session at the latest.
type turn struct{}

// turnKey is arbitrary: it has to differ from other programs' keys.
const turnKey int64 = 0x7061796c6f616400 // "payload", then 0

func (turn) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, turnKey)
	return err
}

func (turn) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, turnKey)
	return err
}

// Do implements catalog.Store.
func (s *Store) Do(ctx context.Context, step catalog.Step) (payload.Payload, error) {
	return s.loop.Do(ctx, step)
}

// Get implements catalog.Store.
func (s *Store) Get(ctx context.Context, id payload.ID) (payload.Payload, error) {
	found, err := s.read(ctx, "get", func() {}, getPayload, []any{id[:]})
	if err == nil && len(found) == 0 {
		err = payload.Wrap("get", id, payload.Errorf(payload.NotFound, "there is no such payload"))
	}
	if err != nil {
		return payload.Payload{}, err
	}
	return found[0], nil
}

// List implements catalog.Store.
func (s *Store) List(ctx context.Context, q catalog.Query) ([]payload.Payload, error) {
	query, args := rows.Page(q)
	return s.read(ctx, "list", func() {}, query, args)
}

// read answers a query of rows.Columns and more.
func (s *Store) read(ctx context.Context, op string, each func(), query string, args []any, more ...any) ([]payload.Payload, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	cursor, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, s.failed(ctx, op, err)
	}
	defer cursor.Close()
	found, err := rows.Collect(cursor, each, more...)
	return found, s.failed(ctx, op, err)
}

// Outlook implements catalog.Store.
func (s *Store) Outlook(ctx context.Context, group string) (catalog.Outlook, error) {
	if err := s.ready(ctx); err != nil {
		return catalog.Outlook{}, err
	}
	var sum catalog.Outlook
	var due *int64
	err := s.pool.QueryRow(ctx, rows.Outlook(group), group).Scan(&sum.Open, &sum.Bytes, &due)
	sum.Next, sum.Ever = rows.DueTime(due)
	return sum, s.failed(ctx, "outlook", err)
}

// Pending implements catalog.Store.
func (s *Store) Pending(ctx context.Context, limit int) (catalog.Backlog, error) {
	var backlog catalog.Backlog
	var since, seq int64
	note := func() {
		backlog.Entries = append(backlog.Entries, catalog.Entry{Since: rows.Time(&since), Seq: uint64(seq)})
	}
	found, err := s.read(ctx, "pending", note, rows.Pending, []any{limit}, &since, &seq, &backlog.Total)
	for i, p := range found {
		backlog.Entries[i].Payload = p
	}
	return backlog, err
}

// Hosts implements catalog.Store.
func (s *Store) Hosts(ctx context.Context) ([]catalog.Host, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	cursor, err := s.pool.Query(ctx, rows.Hosts)
	if err != nil {
		return nil, s.failed(ctx, "hosts", err)
	}
	defer cursor.Close()
	hosts, err := rows.CollectHosts(cursor)
	return hosts, s.failed(ctx, "hosts", err)
}

// Close implements catalog.Store.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.closed.Store(true)
		s.loop.Close()
		s.pool.Close()
	})
	return nil
}

// ready refuses callers who are gone and stores that are closed.
func (s *Store) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return batch.Closed()
	}
	return nil
}
