-- +goose Up

-- Instants are nanoseconds since 1970 UTC; NULL is the zero time.
CREATE TABLE payloads (
    id         BLOB    NOT NULL PRIMARY KEY, -- the 16 bytes of a UUIDv7
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    crc        INTEGER,                      -- CRC32C; NULL: not known yet
    verified   BOOLEAN NOT NULL,
    policy     TEXT    NOT NULL,             -- JSON
    state      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    grp        TEXT    NOT NULL,             -- the group lifecycle, or empty
    created_at INTEGER,
    commit_by  INTEGER,
    active_at  INTEGER,
    expires_at INTEGER,
    ended_at   INTEGER,
    due_at     INTEGER,                      -- NULL: never; 0: at once
    open       BOOLEAN NOT NULL              -- the lifecycle has something left to do
) WITHOUT ROWID;

CREATE INDEX payloads_by_state ON payloads (open, state);
CREATE INDEX payloads_by_namespace ON payloads (namespace, open, state);
CREATE INDEX payloads_by_due ON payloads (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payloads_by_group ON payloads (grp) WHERE grp <> '';
CREATE INDEX payloads_outlook ON payloads (grp, due_at, size) WHERE open = true AND grp <> '';
CREATE INDEX payloads_ended ON payloads (ended_at) WHERE open = false;

CREATE TABLE placements (
    payload_id BLOB    NOT NULL REFERENCES payloads (id) ON DELETE CASCADE,
    tier       TEXT    NOT NULL,
    host       TEXT    NOT NULL, -- empty in the shared tier
    state      TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    location   TEXT    NOT NULL,
    PRIMARY KEY (payload_id, tier, host)
) WITHOUT ROWID;

CREATE INDEX placements_by_tier ON placements (tier, payload_id);
CREATE INDEX placements_by_host ON placements (host, tier, payload_id);

CREATE TABLE outbox (
    payload_id BLOB    NOT NULL PRIMARY KEY REFERENCES payloads (id),
    since      INTEGER NOT NULL,
    seq        INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX outbox_by_age ON outbox (since, seq);

CREATE TABLE requests (
    scope   TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    digest  BLOB    NOT NULL,
    answer  TEXT    NOT NULL, -- the payload as it was answered, as JSON
    made_at INTEGER NOT NULL,
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;

CREATE INDEX requests_by_age ON requests (made_at);

CREATE TABLE hosts (
    name    TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    version TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    seen    INTEGER
) WITHOUT ROWID;

-- How often the store was opened: the high bits of outbox.seq, so that it
-- rises across restarts without a write of its own.
CREATE TABLE openings (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL
);

INSERT INTO openings (one, count) VALUES (1, 0);

-- +goose Down
DROP TABLE openings;
DROP TABLE hosts;
DROP TABLE requests;
DROP TABLE outbox;
DROP TABLE placements;
DROP TABLE payloads;
