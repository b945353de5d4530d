-- Sums, so that no row can change unseen: `row_sum` (see sums.rs) over all of its other columns. Records have their hash
-- chain instead. Counts, so that no row can vanish unseen where others do not miss it.

ALTER TABLE runs ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET sum = row_sum(run_no, run, workflow_name, workflow_hash, labels, created_ms);

-- How many task rows the run has.
ALTER TABLE heads ADD COLUMN tasks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heads ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE heads SET tasks = (SELECT count(*) FROM tasks WHERE tasks.run_no = heads.run_no);
UPDATE heads SET sum = row_sum(run_no, seq, hash, inbox_cursor, status, ended, updated_ms, json, tasks);

ALTER TABLE leases ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE leases SET sum = row_sum(run_no, epoch, owner, until_ms);

ALTER TABLE inbox ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE inbox SET sum = row_sum(id, at_ms, message);

-- The last message of each inbox; there are as many.
CREATE TABLE inboxes (
    run_no INTEGER PRIMARY KEY REFERENCES runs,
    last   INTEGER NOT NULL,
    sum    INTEGER NOT NULL
) STRICT;
INSERT INTO inboxes (run_no, last, sum)
    SELECT run_no, (SELECT count(*) FROM inbox WHERE id > run_no << 32 AND id < (run_no + 1) << 32), 0 FROM runs;
UPDATE inboxes SET sum = row_sum(run_no, last);

-- How many signals the task was sent.
ALTER TABLE tasks ADD COLUMN signals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE tasks SET signals = (
    SELECT count(*) FROM signals
    WHERE (signals.run_no, signals.instance, signals.attempt) = (tasks.run_no, tasks.instance, tasks.attempt));
UPDATE tasks SET sum = row_sum(run_no, instance, attempt, generation, epoch, kind, status, worker, priority, needs,
    waits_for, at_ms, lease_until_ms, heartbeat_ms, reported, updated_ms, request_no, signals);

ALTER TABLE requests ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE requests SET sum = row_sum(request_no, request);

ALTER TABLE signals ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE signals SET sum = row_sum(run_no, instance, attempt, signal_no, text);

ALTER TABLE workers ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE workers SET sum = row_sum(worker, slots, busy, can, host, started_ms, heartbeat_ms);

ALTER TABLE memo ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
UPDATE memo SET sum = row_sum(key, row, at_ms);
