-- +goose Up

-- Instants are nanoseconds since 1970 UTC; NULL is the zero time. Text is
-- compared byte by byte, as Go compares strings.
CREATE TABLE payloads (
    id         uuid    NOT NULL PRIMARY KEY,
    namespace  text    COLLATE "C" NOT NULL,
    name       text    COLLATE "C" NOT NULL,
    size       bigint  NOT NULL,
    crc        bigint,                      -- CRC32C; NULL: not known yet
    verified   boolean NOT NULL,
    policy     jsonb   NOT NULL,
    state      text    COLLATE "C" NOT NULL,
    version    bigint  NOT NULL,
    grp        text    COLLATE "C" NOT NULL, -- the group lifecycle, or empty
    created_at bigint,
    commit_by  bigint,
    active_at  bigint,
    expires_at bigint,
    ended_at   bigint,
    due_at     bigint,                      -- NULL: never; 0: at once
    open       boolean NOT NULL             -- the lifecycle has something left to do
);

CREATE INDEX payloads_by_state ON payloads (open, state, id);
CREATE INDEX payloads_by_namespace ON payloads (namespace, open, state, id);
CREATE INDEX payloads_by_due ON payloads (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payloads_by_group ON payloads (grp, id) WHERE grp <> '';
CREATE INDEX payloads_outlook ON payloads (grp, due_at) INCLUDE (size) WHERE open = true AND grp <> '';
CREATE INDEX payloads_ended ON payloads (ended_at, id) WHERE open = false;

CREATE TABLE placements (
    payload_id uuid   NOT NULL REFERENCES payloads (id) ON DELETE CASCADE,
    tier       text   COLLATE "C" NOT NULL,
    host       text   COLLATE "C" NOT NULL, -- empty in the shared tier
    state      text   COLLATE "C" NOT NULL,
    attempt    bigint NOT NULL,
    location   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (payload_id, tier, host)
);

CREATE INDEX placements_by_tier ON placements (tier, payload_id);
CREATE INDEX placements_by_host ON placements (host, tier, payload_id);

CREATE SEQUENCE outbox_seq;

CREATE TABLE outbox (
    payload_id uuid   NOT NULL PRIMARY KEY REFERENCES payloads (id),
    since      bigint NOT NULL,
    seq        bigint NOT NULL
);

CREATE INDEX outbox_by_age ON outbox (since, seq);

CREATE TABLE requests (
    scope   text   COLLATE "C" NOT NULL,
    id      text   COLLATE "C" NOT NULL,
    digest  bytea  NOT NULL,
    answer  json   NOT NULL, -- the payload as it was answered
    made_at bigint NOT NULL,
    PRIMARY KEY (scope, id)
);

CREATE INDEX requests_by_age ON requests (made_at, scope, id);

CREATE TABLE hosts (
    name    text COLLATE "C" NOT NULL PRIMARY KEY,
    address text NOT NULL,
    version text NOT NULL,
    boot_id text NOT NULL,
    seen    bigint
);

-- +goose Down
DROP TABLE hosts;
DROP TABLE requests;
DROP TABLE outbox;
DROP SEQUENCE outbox_seq;
DROP TABLE placements;
DROP TABLE payloads;
