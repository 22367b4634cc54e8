package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// again is when a repeat makes sense after the database could not be reached:
// a restart or a failover takes seconds.
const again = time.Second

// PostgreSQL's error codes, appendix A of its manual: whole codes, and classes
// of two characters.
var (
	// Another transaction was in the way; the same one may succeed now.
	collisions = []string{
		"40001", // serialization_failure
		"40P01", // deadlock_detected
		"23505", // unique_violation: another daemon inserted it first
		"23503", // foreign_key_violation: another daemon pruned it, or wrote to what we prune
	}

	// The database is down, overloaded or restarting.
	outages = []string{
		"08", "53", "57", "58",
		"25P03", // idle_in_transaction_session_timeout: we were paused for long
		"25006", // read_only_sql_transaction: a standby after a failover
		"55P03", // lock_not_available
	}

	// The database cannot hold what the step says, whenever it is tried.
	refusals = []string{"22"}
)

func is(err error, codes []string) bool {
	said, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (slices.Contains(codes, said.Code) || slices.Contains(codes, said.Code[:min(2, len(said.Code))]))
}

func collided(err error) bool { return is(err, collisions) }

func refused(err error) bool { return is(err, refusals) }

// failed is the catalog's error for what the database said. A connection that
// broke rarely broke alone: then the pool lets go of all that it has, so that
// one failure is all that callers see of a restart.
func (s *Store) failed(ctx context.Context, op string, err error) error {
	if err != nil && s.closed.Load() {
		return batch.Closed()
	}
	mapped := failed(ctx, op, err)
	if errors.Is(mapped, payload.Unavailable) {
		s.pool.Reset()
	}
	return mapped
}

// failed repeats no message of the driver's or the server's: they name hosts,
// paths and values.
func failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return payload.Wrap(op, payload.ID{}, coded(err))
}

func coded(err error) error {
	said, answered := errors.AsType[*pgconn.PgError](err)
	_, unreadable := errors.AsType[pgx.ScanArgError](err)
	switch {
	case unreadable:
		return payload.Errorf(payload.Internal, "a record in the catalog's database cannot be read")
	case !answered:
		return payload.Errorf(payload.Unavailable, "the catalog's database cannot be reached").Retry(again)
	case is(err, outages), is(err, collisions):
		return payload.Errorf(payload.Unavailable, "the catalog's database is not ready: SQLSTATE %s", said.Code).Retry(again)
	case is(err, refusals):
		return payload.Errorf(payload.Invalid, "the catalog's database cannot hold a value of the request: SQLSTATE %s", said.Code)
	default:
		return payload.Errorf(payload.Internal, "the catalog's database refused a statement: SQLSTATE %s", said.Code)
	}
}
