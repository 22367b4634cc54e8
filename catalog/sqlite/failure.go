package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// again is when a repeat makes sense after the file could not be used: a disk
// that is full or gone does not come back sooner.
const again = time.Second

// failed is the catalog's error for what the database said.
func (s *Store) failed(ctx context.Context, op string, err error) error {
	if err != nil && s.closed.Load() {
		return batch.Closed()
	}
	return failed(ctx, op, err)
}

// failed names no file: SQLite's own messages hold none either.
func failed(ctx context.Context, op string, err error) error {
	switch known := (sqlite3.Error{}); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &known):
		return payload.Wrap(op, payload.ID{}, err)
	default:
		return payload.Wrap(op, payload.ID{}, coded(known))
	}
}

func coded(err sqlite3.Error) error {
	switch err.Code {
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return payload.Errorf(payload.Corrupt, "the catalog's file is damaged: %s", err.Code.Error())
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrNomem, sqlite3.ErrCantOpen,
		sqlite3.ErrReadonly, sqlite3.ErrPerm:
		return payload.Errorf(payload.Unavailable, "the catalog's file cannot be used now: %s", err.Code.Error()).Retry(again)
	default:
		return payload.Errorf(payload.Internal, "the catalog's file refused a statement: %s", err.Code.Error())
	}
}
