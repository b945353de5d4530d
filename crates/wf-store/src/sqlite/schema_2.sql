-- The fleet: workers of any process claim tasks, keep them by heartbeats, are told things about them, and report.

-- The generation of the effect, whether the worker has reported, and where the request is, if another process may
-- perform the task.
ALTER TABLE tasks ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN reported INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN request_no INTEGER;

-- Apart from `tasks`, because they are large, and every heartbeat writes the row anew.
CREATE TABLE requests (
    request_no INTEGER PRIMARY KEY,
    request    TEXT NOT NULL
) STRICT;

-- What whoever performs a task was told; no text means that it is to be ended.
CREATE TABLE signals (
    run_no    INTEGER NOT NULL REFERENCES runs,
    instance  TEXT NOT NULL,
    attempt   INTEGER NOT NULL,
    signal_no INTEGER NOT NULL,
    text      TEXT,
    PRIMARY KEY (run_no, instance, attempt, signal_no)
) STRICT, WITHOUT ROWID;

-- `can` is an array of texts; nothing means everything.
CREATE TABLE workers (
    worker       TEXT PRIMARY KEY,
    slots        INTEGER NOT NULL,
    busy         INTEGER NOT NULL,
    can          TEXT,
    host         TEXT NOT NULL,
    started_ms   INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What can be claimed, in the order in which it is, apart by what it needs, so that nobody wades through what is not
-- fit for them. They hold open tasks only, so they cost the others nothing.
DROP INDEX tasks_pending;
CREATE INDEX tasks_open ON tasks (needs, priority DESC, at_ms, run_no, instance, attempt)
    WHERE status = 'pending' AND request_no IS NOT NULL;
CREATE INDEX tasks_open_of_run ON tasks (run_no, needs, priority DESC, at_ms, instance, attempt)
    WHERE status = 'pending' AND request_no IS NOT NULL;

-- What is not over, so that owners and boards need not wade through what is.
CREATE INDEX tasks_live ON tasks (run_no, status, instance, attempt)
    WHERE status IN ('pending', 'claimed', 'blocked');
