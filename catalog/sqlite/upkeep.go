package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/rows"
)

// Settle implements catalog.Store.
func (s *Store) Settle(ctx context.Context, delivered []catalog.Entry, group string) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.writer.durably(func(ctx context.Context) error {
		for _, e := range delivered {
			if err := s.writer.settleOne(ctx, e, group); err != nil {
				return err
			}
		}
		return nil
	})
	return s.failed(ctx, "settle", err)
}

func (w *writer) settleOne(ctx context.Context, e catalog.Entry, group string) error {
	id := e.Payload.ID[:]
	removed, err := count(ctx, w.settle, id, int64(e.Seq))
	if err != nil || removed == 0 || group == "" {
		return err
	}
	delete(w.recent.records, e.Payload.ID)
	return run(ctx, w.join, group, id)
}

func count(ctx context.Context, s *sql.Stmt, args ...any) (int, error) {
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// PutHost implements catalog.Store.
func (s *Store) PutHost(ctx context.Context, h catalog.Host) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.writer.durably(func(ctx context.Context) error {
		return run(ctx, s.writer.putHost, h.Name, h.Address, h.Version, h.BootID, rows.Nano(h.Seen))
	})
	return s.failed(ctx, "put host", err)
}

// Prune implements catalog.Store.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	var forgotten int
	err := s.writer.durably(func(ctx context.Context) error {
		tombstones, err := count(ctx, s.writer.forgetTombstones, before.UnixNano(), limit)
		if err != nil {
			return err
		}
		answers, err := count(ctx, s.writer.forgetRequests, before.UnixNano(), limit)
		forgotten = tombstones + answers
		return err
	})
	if err != nil {
		return 0, s.failed(ctx, "prune", err)
	}
	return forgotten, nil
}
