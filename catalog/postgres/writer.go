package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/catalog/rows"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

const (
	// tries bounds how often a transaction that collided starts again. Each
	// collision means that another daemon got something done, so many in a row
	// are as unlikely as they are harmless.
	tries = 20

	// patience bounds one transaction, its waiting for other daemons' locks
	// included, so that a network that swallows packets stops no one for long.
	patience = 15 * time.Second
)

// transact runs work on one connection, which work begins and commits a
// transaction on, until it does not collide with another daemon's. It heeds no
// caller's context once it began: other callers' steps may be in it.
func (s *Store) transact(work func(ctx context.Context, conn *pgxpool.Conn) error) (err error) {
	for range tries {
		if err = s.try(work); !collided(err) {
			return err
		}
	}
	return err
}

func (s *Store) try(work func(ctx context.Context, conn *pgxpool.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err = work(ctx, conn); err != nil && !conn.Conn().IsClosed() {
		_, _ = conn.Exec(ctx, "ROLLBACK") // if it fails, the pool drops the connection, and with it the transaction
	}
	return err
}

// send takes one round trip. What the statements found is in the callbacks of
// b; the error is the first statement's that failed.
func send(ctx context.Context, conn *pgxpool.Conn, b *pgx.Batch) error {
	return conn.SendBatch(ctx, b).Close()
}

// carry makes a batch of steps durable with one commit. A step that the
// database itself refuses, for a text that it cannot hold, must not take the
// others with it: then each goes alone.
func (s *Store) carry(steps []catalog.Step) []batch.Outcome {
	var outcomes []batch.Outcome
	err := s.transact(func(ctx context.Context, conn *pgxpool.Conn) error {
		ledger := batch.NewLedger(steps)
		if err := fill(ctx, conn, ledger); err != nil {
			return err
		}
		outcomes = ledger.Judge()
		return write(ctx, conn, ledger)
	})
	switch {
	case err == nil:
		return outcomes
	case refused(err) && len(steps) > 1:
		return s.carryEach(steps)
	default:
		return batch.Failed(steps, s.failed(context.Background(), "", err))
	}
}

func (s *Store) carryEach(steps []catalog.Step) (outcomes []batch.Outcome) {
	for i := range steps {
		outcomes = append(outcomes, s.carry(steps[i:i+1])...)
	}
	return outcomes
}

// fill begins the transaction, locks the payloads and loads what the steps are
// judged against. Lock and load are two statements: a statement sees what was
// committed before it began, which for one that waits for a lock is too early.
func fill(ctx context.Context, conn *pgxpool.Conn, ledger *batch.Ledger) error {
	var b pgx.Batch
	ids := list(ledger.IDs(), func(id payload.ID) [16]byte { return id })
	b.Queue(begin)
	b.Queue(lockPayloads, ids)
	b.Queue(loadPayloads, ids).Query(func(cursor pgx.Rows) error {
		found, err := rows.Collect(cursor, func() {})
		for _, p := range found {
			ledger.Found(p)
		}
		return err
	})
	if asked := ledger.Requests(); len(asked) > 0 {
		scopes := list(asked, func(r batch.Request) string { return r.Scope })
		names := list(asked, func(r batch.Request) string { return r.ID })
		b.Queue(getAnswers, scopes, names).Query(func(cursor pgx.Rows) error { return recall(cursor, ledger) })
	}
	return send(ctx, conn, &b)
}

func recall(cursor pgx.Rows, ledger *batch.Ledger) error {
	for cursor.Next() {
		var a batch.Answer
		var text []byte
		if err := cursor.Scan(&a.Scope, &a.ID, &a.Digest, &text); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &a.Payload); err != nil {
			return err
		}
		ledger.Answered(a)
	}
	return cursor.Err()
}

// write writes what the ledger says and commits.
func write(ctx context.Context, conn *pgxpool.Conn, ledger *batch.Ledger) error {
	var b pgx.Batch
	if err := queuePayloads(&b, ledger.Changes()); err != nil {
		return err
	}
	queuePlacements(&b, ledger.Changes())
	queueEntries(&b, ledger.Changes())
	if err := queueAnswers(&b, ledger.Answers()); err != nil {
		return err
	}
	b.Queue(commit)
	return send(ctx, conn, &b)
}

func queuePayloads(b *pgx.Batch, changes []*batch.Change) error {
	var fresh, known []payload.Payload
	var policies []string
	for _, c := range changes {
		if !c.New {
			known = append(known, c.After)
			continue
		}
		policy, err := rows.Policy(c.After.Policy)
		if err != nil {
			return err
		}
		fresh, policies = append(fresh, c.After), append(policies, policy)
	}
	if len(known) > 0 {
		b.Queue(updatePayloads, changing(known)...)
	}
	if len(fresh) > 0 {
		b.Queue(insertPayloads, append(changing(fresh),
			list(fresh, func(p payload.Payload) string { return p.Namespace }),
			list(fresh, func(p payload.Payload) string { return p.Name }),
			list(fresh, func(p payload.Payload) int64 { return p.Size }),
			policies,
			list(fresh, func(p payload.Payload) *int64 { return rows.Nano(p.CreatedAt) }),
			list(fresh, func(p payload.Payload) *int64 { return rows.Nano(p.CommitBy) }))...)
	}
	return nil
}

// changing is the columns that a step may change, the id first.
func changing(payloads []payload.Payload) []any {
	return []any{
		list(payloads, func(p payload.Payload) [16]byte { return p.ID }),
		list(payloads, func(p payload.Payload) *int64 { return rows.CRC(p.Checksum) }),
		list(payloads, func(p payload.Payload) bool { return p.Verified }),
		list(payloads, func(p payload.Payload) string { return string(p.State) }),
		list(payloads, func(p payload.Payload) int64 { return int64(p.Version) }),
		list(payloads, func(p payload.Payload) string { return p.Group }),
		list(payloads, func(p payload.Payload) *int64 { return rows.Nano(p.ActiveAt) }),
		list(payloads, func(p payload.Payload) *int64 { return rows.Nano(p.ExpiresAt) }),
		list(payloads, func(p payload.Payload) *int64 { return rows.Nano(p.EndedAt) }),
		list(payloads, func(p payload.Payload) *int64 { return rows.DueNano(catalog.Due(p)) }),
		list(payloads, catalog.Open),
	}
}

// A placed is a placement with the payload that it belongs to.
type placed struct {
	id [16]byte
	payload.Placement
}

func queuePlacements(b *pgx.Batch, changes []*batch.Change) {
	var gone, put []placed
	for _, c := range changes {
		for _, at := range c.Gone() {
			gone = append(gone, placed{c.After.ID, at})
		}
		for _, at := range c.Put() {
			put = append(put, placed{c.After.ID, at})
		}
	}
	if len(gone) > 0 {
		b.Queue(dropPlacements, places(gone)...)
	}
	if len(put) > 0 {
		b.Queue(putPlacements, append(places(put),
			list(put, func(p placed) string { return string(p.State) }),
			list(put, func(p placed) int64 { return int64(p.Attempt) }),
			list(put, func(p placed) string { return p.Location }))...)
	}
}

func places(of []placed) []any {
	return []any{
		list(of, func(p placed) [16]byte { return p.id }),
		list(of, func(p placed) string { return string(p.Tier) }),
		list(of, func(p placed) string { return p.Host }),
	}
}

func queueEntries(b *pgx.Batch, changes []*batch.Change) {
	var ids [][16]byte
	var since []int64
	for _, c := range changes {
		if c.Wake {
			ids, since = append(ids, c.After.ID), append(since, c.Since.UnixNano())
		}
	}
	if len(ids) > 0 {
		b.Queue(putEntries, ids, since)
	}
}

func queueAnswers(b *pgx.Batch, answers []batch.Answer) error {
	if len(answers) == 0 {
		return nil
	}
	var texts []string
	for _, a := range answers {
		text, err := json.Marshal(a.Payload)
		if err != nil {
			return err
		}
		texts = append(texts, string(text))
	}
	b.Queue(putAnswers,
		list(answers, func(a batch.Answer) string { return a.Scope }),
		list(answers, func(a batch.Answer) string { return a.ID }),
		list(answers, func(a batch.Answer) []byte { return append([]byte{}, a.Digest...) }), // never NULL
		texts,
		list(answers, func(a batch.Answer) int64 { return a.MadeAt.UnixNano() }))
	return nil
}

// list is one column of many records.
func list[R, V any](of []R, column func(R) V) []V {
	values := make([]V, len(of))
	for i, r := range of {
		values[i] = column(r)
	}
	return values
}
