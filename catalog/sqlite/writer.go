package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"sync"

	"github.com/pressly/goose/v3"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/catalog/rows"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A writer is the one connection that writes, with its prepared statements.
// Whoever uses it holds mu for a whole transaction.
type writer struct {
	mu   sync.Mutex
	db   *sql.DB
	conn *sql.Conn
	seq  int64 // of the outbox entry written last

	begin, commit, rollback          *sql.Stmt
	load, insert, update             *sql.Stmt
	put, drop, wake                  *sql.Stmt
	recall, remember                 *sql.Stmt
	settle, join, putHost            *sql.Stmt
	forgetTombstones, forgetRequests *sql.Stmt
}

// The pragmas of the writing connection. Cache in KiB; the log is copied into
// the file each 4,000 pages, 16 MiB, which at full load is about once a second
// instead of four times.
var writing = url.Values{
	"_journal_mode": {"WAL"},
	"_synchronous":  {"FULL"},
	"_foreign_keys": {"true"},
	"_cache_size":   {"-65536"},
}

const checkpointEach = `PRAGMA wal_autocheckpoint = 4000`

// perOpening is how many outbox entries one opening of the store may write
// before its numbers meet those of the next: more than ten years at a million
// a second would need.
const perOpening = 1 << 40

func openWriter(ctx context.Context, path string) (*writer, error) {
	db, err := sql.Open("sqlite3", source(path, writing))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	w := &writer{db: db}
	if err := w.open(ctx); err != nil {
		_ = w.close() // the error that matters is the first
		return nil, err
	}
	return w, nil
}

func (w *writer) open(ctx context.Context) error {
	if err := migrate(ctx, w.db); err != nil {
		return err
	}
	var err error
	if w.conn, err = w.db.Conn(ctx); err != nil {
		return err
	}
	if _, err := w.conn.ExecContext(ctx, checkpointEach); err != nil {
		return err
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	const opening = `UPDATE openings SET count = count + 1 RETURNING count`
	if err := w.conn.QueryRowContext(ctx, opening).Scan(&w.seq); err != nil {
		return err
	}
	w.seq *= perOpening
	return nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

func (w *writer) prepare(ctx context.Context) error {
	for _, s := range []struct {
		into **sql.Stmt
		text string
	}{
		{&w.begin, `BEGIN IMMEDIATE`},
		{&w.commit, `COMMIT`},
		{&w.rollback, `ROLLBACK`},
		{&w.load, getPayload},
		{&w.insert, insertPayload},
		{&w.update, updatePayload},
		{&w.put, putPlacement},
		{&w.drop, dropPlacement},
		{&w.wake, putEntry},
		{&w.recall, getAnswer},
		{&w.remember, putAnswer},
		{&w.settle, settleEntry},
		{&w.join, joinGroup},
		{&w.putHost, putHost},
		{&w.forgetTombstones, forgetTombstones},
		{&w.forgetRequests, forgetRequests},
	} {
		var err error
		if *s.into, err = w.conn.PrepareContext(ctx, s.text); err != nil {
			return err
		}
	}
	return nil
}

// close lets go of the connection, and with it of the statements.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var released error
	if w.conn != nil {
		released = w.conn.Close()
	}
	return firstOf(released, w.db.Close())
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// transact runs work in one transaction. The work is durable when it returns
// nil, and undone otherwise. It heeds no caller's context: other callers'
// steps may be in the same transaction.
func (w *writer) transact(work func(ctx context.Context) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx := context.Background()
	if err := run(ctx, w.begin); err != nil {
		return err
	}
	err := work(ctx)
	if err == nil {
		err = run(ctx, w.commit)
	}
	if err != nil {
		_ = run(ctx, w.rollback) // SQLite may have ended the transaction itself
	}
	return err
}

func run(ctx context.Context, s *sql.Stmt, args ...any) error {
	_, err := s.ExecContext(ctx, args...)
	return err
}

// carry makes a batch of steps durable with one commit.
func (w *writer) carry(steps []catalog.Step) []batch.Outcome {
	var outcomes []batch.Outcome
	err := w.transact(func(ctx context.Context) error {
		ledger := batch.NewLedger(steps)
		if err := w.fill(ctx, ledger); err != nil {
			return err
		}
		outcomes = ledger.Judge()
		return w.write(ctx, ledger)
	})
	if err == nil {
		return outcomes
	}
	return batch.Failed(steps, failed(context.Background(), "", err))
}

// fill loads what the steps are judged against.
func (w *writer) fill(ctx context.Context, ledger *batch.Ledger) error {
	for _, id := range ledger.IDs() {
		if err := w.fillPayload(ctx, ledger, id); err != nil {
			return err
		}
	}
	for _, asked := range ledger.Requests() {
		a := batch.Answer{Request: asked}
		var text []byte
		err := w.recall.QueryRowContext(ctx, asked.Scope, asked.ID).Scan(&a.Digest, &text)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err := firstOf(err, json.Unmarshal(text, &a.Payload)); err != nil {
			return err
		}
		ledger.Answered(a)
	}
	return nil
}

func (w *writer) fillPayload(ctx context.Context, ledger *batch.Ledger, id payload.ID) error {
	cursor, err := w.load.QueryContext(ctx, id[:])
	if err != nil {
		return err
	}
	defer cursor.Close() // Collect reports what went wrong while reading
	found, err := rows.Collect(cursor, func() {})
	for _, p := range found {
		ledger.Found(p)
	}
	return err
}

func (w *writer) write(ctx context.Context, ledger *batch.Ledger) error {
	for _, c := range ledger.Changes() {
		if err := w.writeChange(ctx, c); err != nil {
			return err
		}
	}
	for _, a := range ledger.Answers() {
		text, err := json.Marshal(a.Payload)
		if err != nil {
			return err
		}
		if err := run(ctx, w.remember, a.Scope, a.ID, a.Digest, string(text), a.MadeAt.UnixNano()); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeChange(ctx context.Context, c batch.Change) error {
	id := c.After.ID[:]
	if err := w.writePayload(ctx, c); err != nil {
		return err
	}
	for _, at := range c.Gone() {
		if err := run(ctx, w.drop, id, string(at.Tier), at.Host); err != nil {
			return err
		}
	}
	for _, at := range c.Put() {
		if err := run(ctx, w.put, id, string(at.Tier), at.Host, string(at.State), int64(at.Attempt), at.Location); err != nil {
			return err
		}
	}
	if !c.Wake {
		return nil
	}
	w.seq++
	return run(ctx, w.wake, id, c.Since.UnixNano(), w.seq)
}

func (w *writer) writePayload(ctx context.Context, c batch.Change) error {
	p := c.After
	changing := []any{
		rows.CRC(p.Checksum), p.Verified, string(p.State), int64(p.Version), p.Group,
		rows.Nano(p.ActiveAt), rows.Nano(p.ExpiresAt), rows.Nano(p.EndedAt), rows.DueNano(catalog.Due(p)), catalog.Open(p),
	}
	if !c.New {
		return run(ctx, w.update, append(changing, p.ID[:])...)
	}
	policy, err := rows.Policy(p.Policy)
	if err != nil {
		return err
	}
	return run(ctx, w.insert, append(changing, p.ID[:], p.Namespace, p.Name, p.Size, policy, rows.Nano(p.CreatedAt), rows.Nano(p.CommitBy))...)
}
