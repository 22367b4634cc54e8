// Package sqlite keeps the catalog's records in one SQLite file, for a daemon
// that has its machine to itself.
//
// # Concurrency
//
// SQLite has one writer at a time. So one connection writes, steps share its
// commits (package batch), and readers have connections of their own, which
// the write-ahead log lets work undisturbed. Nobody ever meets a lock.
//
// # Durability
//
// What was answered survives a power cut, but for steps that are volatile by
// their own word. SQLite writes its log at each commit; syncing it is done
// beside it (writer.sync), for all that was committed meanwhile, so that the
// next batch is carried out while the disk is busy with the last.
//
// # What it leaves out
//
// A second process on the same file. It would be safe, but it would wait; many
// daemons share a catalog through Postgres.
package sqlite

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/catalog/rows"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// readers is how many queries run at once; further ones wait. SQLite reads at
// memory speed, so more connections than processors gain little.
const readers = 8

// A Store is a catalog.Store on one SQLite file.
type Store struct {
	writer *writer
	loop   *batch.Loop
	reads  *sql.DB
	closed atomic.Bool
	close  sync.Once
}

var _ catalog.Store = (*Store)(nil)

// Open opens the file, makes it where there is none, and brings its schema up
// to date. Its folder has to exist.
func Open(ctx context.Context, path string) (*Store, error) {
	w, err := openWriter(ctx, path)
	if err != nil {
		return nil, failed(ctx, "open", err)
	}
	reads, err := sql.Open("sqlite3", source(path, url.Values{"mode": {"ro"}, "_query_only": {"true"}}))
	if err != nil {
		_ = w.close() // the error that matters is the first
		return nil, failed(ctx, "open", err)
	}
	reads.SetMaxOpenConns(readers)
	reads.SetMaxIdleConns(readers)
	return &Store{writer: w, loop: batch.Start(w.carry, w.sync), reads: reads}, nil
}

// source is the data source name of a path, whatever characters it holds.
func source(path string, more url.Values) string {
	absolute, err := filepath.Abs(path)
	if err != nil {
		absolute = path // the working directory is gone: opening says so better
	}
	more.Set("_busy_timeout", "10000") // milliseconds; met only when a foreign process writes
	more.Set("_stmt_cache_size", "64") // planning a statement anew costs more than carrying it out
	return (&url.URL{Scheme: "file", OmitHost: true, Path: absolute, RawQuery: more.Encode()}).String()
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

// getPayload takes the record first and joins its placements to it. In a join
// the planner looks at the bound value to judge the partial indexes of
// payloads, and plans anew at each execution, which costs more than the answer.
const getPayload = `WITH p AS MATERIALIZED (SELECT * FROM payloads WHERE id = $1)
SELECT ` + rows.Columns + ` FROM p ` + rows.Placed + ` ORDER BY l.tier, l.host`

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
	cursor, err := s.reads.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.failed(ctx, op, err)
	}
	defer cursor.Close() // Collect reports what went wrong while reading
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
	err := s.reads.QueryRowContext(ctx, rows.Outlook(group), group).Scan(&sum.Open, &sum.Bytes, &due)
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
	cursor, err := s.reads.QueryContext(ctx, rows.Hosts)
	if err != nil {
		return nil, s.failed(ctx, "hosts", err)
	}
	defer cursor.Close() // CollectHosts reports what went wrong while reading
	hosts, err := rows.CollectHosts(cursor)
	return hosts, s.failed(ctx, "hosts", err)
}

// Close implements catalog.Store.
func (s *Store) Close() (err error) {
	s.close.Do(func() {
		s.closed.Store(true)
		s.loop.Close()
		reads, writes := s.reads.Close(), s.writer.close()
		err = failed(context.Background(), "close", firstOf(reads, writes))
	})
	return err
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
