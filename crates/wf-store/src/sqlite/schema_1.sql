-- The first schema. What a later one changes goes into a file of its own; this one never changes again.

CREATE TABLE runs (
    run_no        INTEGER PRIMARY KEY,
    run           TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_hash BLOB NOT NULL,
    labels        TEXT NOT NULL,
    created_ms    INTEGER NOT NULL
) STRICT;

CREATE INDEX runs_by_age ON runs (created_ms, run);

-- Apart from `runs`, because every append replaces it.
CREATE TABLE heads (
    run_no       INTEGER PRIMARY KEY REFERENCES runs,
    seq          INTEGER NOT NULL,
    hash         BLOB NOT NULL,
    inbox_cursor INTEGER NOT NULL,
    status       TEXT NOT NULL,
    ended        INTEGER NOT NULL,
    updated_ms   INTEGER NOT NULL,
    json         TEXT NOT NULL
) STRICT;

CREATE TABLE leases (
    run_no   INTEGER PRIMARY KEY REFERENCES runs,
    epoch    INTEGER NOT NULL,
    owner    TEXT,
    until_ms INTEGER NOT NULL
) STRICT;

-- The id is run_no * 2^32 + seq: one tree, in which the log of a run lies in one piece.
CREATE TABLE records (
    id      INTEGER PRIMARY KEY,
    kind    INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    payload TEXT NOT NULL,
    hash    BLOB NOT NULL
) STRICT;

-- The id is run_no * 2^32 + the id of the message within its run.
CREATE TABLE inbox (
    id      INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    message TEXT NOT NULL
) STRICT;

CREATE TABLE tasks (
    run_no         INTEGER NOT NULL REFERENCES runs,
    instance       TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    epoch          INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    status         TEXT NOT NULL,
    worker         TEXT,
    priority       INTEGER NOT NULL,
    needs          TEXT NOT NULL,
    waits_for      TEXT,
    at_ms          INTEGER NOT NULL,
    lease_until_ms INTEGER,
    heartbeat_ms   INTEGER,
    updated_ms     INTEGER NOT NULL,
    PRIMARY KEY (run_no, instance, attempt)
) STRICT, WITHOUT ROWID;

-- What can be claimed, in the order in which it is. It holds pending tasks only, so it costs the others nothing.
CREATE INDEX tasks_pending ON tasks (priority DESC, at_ms) WHERE status = 'pending';

CREATE TABLE memo (
    key   BLOB PRIMARY KEY,
    row   TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
