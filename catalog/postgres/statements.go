package postgres

import "github.com/payload-manager/payload-manager/catalog/rows"

// Statements that write take one array for each column, so that one statement
// writes a whole batch.
const (
	begin  = `BEGIN ISOLATION LEVEL READ COMMITTED`
	commit = `COMMIT`

	getPayload = `SELECT ` + rows.Columns + ` FROM ` + rows.Joined + ` WHERE p.id = $1 ORDER BY ` + rows.InOrder

	lockPayloads = `SELECT 1 FROM payloads WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE`

	loadPayloads = `SELECT ` + rows.Columns + ` FROM ` + rows.Joined + ` WHERE p.id = ANY($1::uuid[]) ORDER BY ` + rows.InOrder

	// New payloads are inserted plainly: that another daemon has the id by now
	// has to fail, so that the step is judged again.
	insertPayloads = `INSERT INTO payloads (id, crc, verified, state, version, grp, active_at, expires_at, ended_at, due_at, open,
		namespace, name, size, policy, created_at, commit_by)
	SELECT id, crc, verified, state, version, grp, active_at, expires_at, ended_at, due_at, open,
		namespace, name, size, policy::jsonb, created_at, commit_by
	FROM unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::bigint[], $6::text[],
		$7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[],
		$12::text[], $13::text[], $14::bigint[], $15::text[], $16::bigint[], $17::bigint[])
	AS new(id, crc, verified, state, version, grp, active_at, expires_at, ended_at, due_at, open,
		namespace, name, size, policy, created_at, commit_by)`

	updatePayloads = `UPDATE payloads p SET crc = new.crc, verified = new.verified, state = new.state, version = new.version,
		grp = new.grp, active_at = new.active_at, expires_at = new.expires_at, ended_at = new.ended_at,
		due_at = new.due_at, open = new.open
	FROM unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::bigint[], $6::text[],
		$7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[])
	AS new(id, crc, verified, state, version, grp, active_at, expires_at, ended_at, due_at, open)
	WHERE p.id = new.id`

	dropPlacements = `DELETE FROM placements l USING unnest($1::uuid[], $2::text[], $3::text[]) AS gone(id, tier, host)
	WHERE l.payload_id = gone.id AND l.tier = gone.tier AND l.host = gone.host`

	putPlacements = `INSERT INTO placements (payload_id, tier, host, state, attempt, location)
	SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
	ON CONFLICT (payload_id, tier, host) DO UPDATE
	SET state = excluded.state, attempt = excluded.attempt, location = excluded.location`

	putEntries = `INSERT INTO outbox (payload_id, since, seq)
	SELECT id, since, nextval('outbox_seq') FROM unnest($1::uuid[], $2::bigint[]) AS new(id, since)
	ON CONFLICT (payload_id) DO UPDATE SET since = least(outbox.since, excluded.since), seq = excluded.seq`

	getAnswers = `SELECT r.scope, r.id, r.digest, r.answer
	FROM unnest($1::text[], $2::text[]) AS asked(scope, id) JOIN requests r ON r.scope = asked.scope AND r.id = asked.id`

	putAnswers = `INSERT INTO requests (scope, id, digest, answer, made_at)
	SELECT scope, id, digest, answer::json, made_at
	FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bigint[]) AS new(scope, id, digest, answer, made_at)`

	settleEntries = `WITH gone AS (
		DELETE FROM outbox o USING unnest($1::uuid[], $2::bigint[]) AS delivered(id, seq)
		WHERE o.payload_id = delivered.id AND o.seq = delivered.seq RETURNING o.payload_id)
	UPDATE payloads p SET grp = $3 FROM gone WHERE p.id = gone.payload_id AND p.grp = '' AND $3 <> ''`

	putHost = `INSERT INTO hosts (name, address, version, boot_id, seen) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (name) DO UPDATE
	SET address = excluded.address, version = excluded.version, boot_id = excluded.boot_id, seen = excluded.seen`

	// A tombstone whose end the outbox has yet to tell of stays. One that
	// another daemon works on stays too, for the next time.
	forgetTombstones = `DELETE FROM payloads WHERE id IN (
		SELECT id FROM payloads p WHERE open = false AND ended_at < $1
		AND NOT EXISTS (SELECT 1 FROM outbox WHERE payload_id = p.id)
		ORDER BY ended_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)`

	forgetRequests = `DELETE FROM requests WHERE (scope, id) IN (
		SELECT scope, id FROM requests WHERE made_at < $1
		ORDER BY made_at, scope, id LIMIT $2 FOR UPDATE SKIP LOCKED)`
)
