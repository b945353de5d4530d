-- Trees: the slots of pools, and whose they are.
CREATE TABLE trees (
    pool     TEXT NOT NULL,
    slot     TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    stage    TEXT NOT NULL,
    run      TEXT,
    branch   TEXT,
    holder   TEXT,
    boot     TEXT NOT NULL,
    until_ms INTEGER,
    at_ms    INTEGER NOT NULL,
    sum      INTEGER NOT NULL,
    PRIMARY KEY (pool, slot)
) STRICT, WITHOUT ROWID;

-- A branch works in one tree at a time.
CREATE UNIQUE INDEX trees_held ON trees (pool, run, branch) WHERE stage IN ('making', 'held');
