package sqlite

const (
	insertPayload = `INSERT INTO payloads
	(crc, verified, state, version, grp, active_at, expires_at, ended_at, due_at, open, id, namespace, name, size, policy, created_at, commit_by)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	updatePayload = `UPDATE payloads SET
	crc = ?, verified = ?, state = ?, version = ?, grp = ?, active_at = ?, expires_at = ?, ended_at = ?, due_at = ?, open = ?
	WHERE id = ?`

	putPlacement = `INSERT INTO placements (payload_id, tier, host, state, attempt, location) VALUES (?, ?, ?, ?, ?, ?)
	ON CONFLICT DO UPDATE SET state = excluded.state, attempt = excluded.attempt, location = excluded.location`

	dropPlacement = `DELETE FROM placements WHERE payload_id = ? AND tier = ? AND host = ?`

	putEntry = `INSERT INTO outbox (payload_id, since, seq) VALUES (?, ?, ?)
	ON CONFLICT DO UPDATE SET since = min(since, excluded.since), seq = excluded.seq`

	getAnswer = `SELECT digest, answer FROM requests WHERE scope = ? AND id = ?`

	putAnswer = `INSERT INTO requests (scope, id, digest, answer, made_at) VALUES (?, ?, ?, ?, ?)`

	settleEntry = `DELETE FROM outbox WHERE payload_id = ? AND seq = ?`

	joinGroup = `UPDATE payloads SET grp = ? WHERE id = ? AND grp = ''`

	putHost = `INSERT INTO hosts (name, address, version, boot_id, seen) VALUES (?, ?, ?, ?, ?)
	ON CONFLICT DO UPDATE SET address = excluded.address, version = excluded.version, boot_id = excluded.boot_id, seen = excluded.seen`

	// A tombstone whose end the outbox has yet to tell of stays.
	forgetTombstones = `DELETE FROM payloads WHERE id IN (
		SELECT id FROM payloads INDEXED BY payloads_ended
		WHERE open = false AND ended_at < ? AND id NOT IN (SELECT payload_id FROM outbox)
		ORDER BY ended_at, id LIMIT ?)`

	forgetRequests = `DELETE FROM requests WHERE (scope, id) IN (
		SELECT scope, id FROM requests WHERE made_at < ? ORDER BY made_at, scope, id LIMIT ?)`
)
