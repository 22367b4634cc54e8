package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/rows"
)

// Settle implements catalog.Store. It locks the payloads before their entries,
// as steps do.
func (s *Store) Settle(ctx context.Context, delivered []catalog.Entry, group string) error {
	if err := s.ready(ctx); err != nil || len(delivered) == 0 {
		return err
	}
	ids := list(delivered, func(e catalog.Entry) [16]byte { return e.Payload.ID })
	seqs := list(delivered, func(e catalog.Entry) int64 { return int64(e.Seq) })
	err := s.transact(func(ctx context.Context, conn *pgxpool.Conn) error {
		var b pgx.Batch
		b.Queue(begin)
		b.Queue(lockPayloads, ids)
		b.Queue(settleEntries, ids, seqs, group)
		b.Queue(commit)
		return send(ctx, conn, &b)
	})
	return s.failed(ctx, "settle", err)
}

// PutHost implements catalog.Store.
func (s *Store) PutHost(ctx context.Context, h catalog.Host) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, putHost, h.Name, h.Address, h.Version, h.BootID, rows.Nano(h.Seen))
	return s.failed(ctx, "put host", err)
}

// Prune implements catalog.Store.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (forgotten int, err error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	err = s.transact(func(ctx context.Context, conn *pgxpool.Conn) error {
		forgotten = 0
		add := func(done pgconn.CommandTag) error {
			forgotten += int(done.RowsAffected())
			return nil
		}
		var b pgx.Batch
		b.Queue(begin)
		b.Queue(forgetTombstones, before.UnixNano(), limit).Exec(add)
		b.Queue(forgetRequests, before.UnixNano(), limit).Exec(add)
		b.Queue(commit)
		return send(ctx, conn, &b)
	})
	if err != nil {
		return 0, s.failed(ctx, "prune", err)
	}
	return forgotten, nil
}
