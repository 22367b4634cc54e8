package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"

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
	path string
	log  *os.File    // the write-ahead log, for sync
	seq  int64       // of the outbox entry written last
	lost atomic.Bool // a sync failed: nothing is durable any more

	recent recent

	begin, others, commit, rollback  *sql.Stmt
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
	"_synchronous":  {"NORMAL"}, // sync does the rest
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
	w := &writer{db: db, path: path}
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
	return w.openLog()
}

// openLog opens the write-ahead log beside SQLite, and makes its name durable.
// It exists as long as a connection does.
func (w *writer) openLog() (err error) {
	if w.log, err = os.OpenFile(w.path+"-wal", os.O_RDWR, 0); err != nil {
		return err
	}
	if err := w.extendLog(); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return err
	}
	defer folder.Close() // it was only read
	return firstOf(folder.Sync(), w.sync())
}

// logSize is what the log grows to between two checkpoints: 4,000 frames, each a
// page of 4 KiB and a header of 24 bytes, and a batch more.
const logSize = 5000 * (4096 + 24)

// extendLog writes zeros to where the log will grow. Syncing a file that grows
// makes the file system commit its journal as well, which takes as long again.
// SQLite takes frames whose salt and checksum are wrong for the log's end, as it
// does with those of an earlier round.
func (w *writer) extendLog() error {
	info, err := w.log.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := info.Size(); at < logSize; at += int64(len(zeros)) {
		if _, err := w.log.WriteAt(zeros[:min(int64(len(zeros)), logSize-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// sync makes durable what was committed before it was called: the frames of the
// log, which SQLite, in synchronous=NORMAL, writes at each commit and syncs
// only before it copies them into the file. A disk that failed a sync may have
// dropped the pages and call the next one a success, so that after a failure
// nothing is promised until the store is opened again.
func (w *writer) sync() error {
	if err := unix.Fdatasync(int(w.log.Fd())); err != nil {
		w.lost.Store(true)
	}
	return w.sound()
}

// sound says whether what is committed can still be made durable.
func (w *writer) sound() error {
	if w.lost.Load() {
		return payload.Errorf(payload.Unavailable, "the disk failed to sync the catalog: see to it, then start the daemon again")
	}
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
		{&w.others, `PRAGMA data_version`},
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
	if w.log != nil {
		w.log.Close() // it was only synced
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

// durably runs work in a transaction of its own, and syncs it.
func (w *writer) durably(work func(ctx context.Context) error) error {
	return firstOf(w.transact(work), w.sync())
}

// transact runs work in one transaction. The work is committed when it returns
// nil, and undone otherwise. It heeds no caller's context: other callers'
// steps may be in the same transaction.
func (w *writer) transact(work func(ctx context.Context) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.sound(); err != nil {
		return err
	}
	ctx := context.Background()
	if err := run(ctx, w.begin); err != nil {
		return err
	}
	err := w.freshen(ctx)
	if err == nil {
		err = work(ctx)
	}
	if err == nil {
		err = run(ctx, w.commit)
	}
	if err != nil {
		w.recent.forget()
		_ = run(ctx, w.rollback) // SQLite may have ended the transaction itself
	}
	return err
}

// freshen forgets what is known when another process wrote.
func (w *writer) freshen(ctx context.Context) error {
	var version int64
	if err := w.others.QueryRowContext(ctx).Scan(&version); err != nil {
		return err
	}
	if version != w.recent.version {
		w.recent.forget()
		w.recent.version = version
	}
	return nil
}

func run(ctx context.Context, s *sql.Stmt, args ...any) error {
	_, err := s.ExecContext(ctx, args...)
	return err
}

// carry carries out a batch of steps with one commit. It takes the ids of new
// payloads for new, as those of a UUIDv7 are; should one exist, it does it all
// again and looks.
func (w *writer) carry(steps []catalog.Step) []batch.Outcome {
	outcomes, err := w.try(steps, false)
	if taken := (sqlite3.Error{}); errors.As(err, &taken) && taken.Code == sqlite3.ErrConstraint {
		outcomes, err = w.try(steps, true)
	}
	if err == nil {
		return outcomes
	}
	return batch.Failed(steps, failed(context.Background(), "", err))
}

func (w *writer) try(steps []catalog.Step, looking bool) (outcomes []batch.Outcome, err error) {
	ledger := batch.NewLedger(steps)
	err = w.transact(func(ctx context.Context) error {
		if err := w.fill(ctx, ledger, looking); err != nil {
			return err
		}
		outcomes = ledger.Judge()
		if err := w.write(ctx, ledger); err != nil {
			return err
		}
		w.recent.learn(ledger.Changes())
		return nil
	})
	return outcomes, err
}

// fill loads what the steps are judged against and is not known.
func (w *writer) fill(ctx context.Context, ledger *batch.Ledger, looking bool) error {
	for _, id := range ledger.IDs() {
		if p, known := w.recent.records[id]; known {
			ledger.Found(p)
			continue
		}
		if !looking && ledger.Creates(id) {
			continue
		}
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

func (w *writer) writeChange(ctx context.Context, c *batch.Change) error {
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

func (w *writer) writePayload(ctx context.Context, c *batch.Change) error {
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
