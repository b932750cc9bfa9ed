-- What was done, or not done and why, to have memory given back, and what the driver's figure says of it.
-- What was tried last night, and did memory come back?
--   SELECT datetime(wall, 'unixepoch'), owner, remedy, plan, result, freed_bytes FROM attempt
--   WHERE withheld IS NULL ORDER BY number DESC;

-- Committed with the poll that caused it, and begun after that: one without a result may have been made.
CREATE TABLE attempt (
    number INTEGER PRIMARY KEY,     -- in the order in which it was decided
    id TEXT UNIQUE,                 -- NULL: withheld
    seq INTEGER NOT NULL,           -- of the poll at which it was decided
    wall REAL NOT NULL,
    incident TEXT NOT NULL REFERENCES incident (id),
    gpu TEXT NOT NULL,              -- UUID
    owner TEXT NOT NULL,            -- key
    remedy TEXT,                    -- ask, signal, engine, command; NULL: none was chosen
    withheld TEXT,                  -- the reason; NULL: to be done
    detail TEXT NOT NULL,           -- of the reason: until when, by whom, what was measured
    plan TEXT NOT NULL,             -- what is done, in words
    targets TEXT NOT NULL,          -- JSON: boot id, pid and start ticks of each process
    gpus TEXT NOT NULL,             -- JSON: UUIDs of all targets
    before_bytes INTEGER,           -- what the owner held on the GPU then
    wanted_bytes INTEGER,           -- by how much that must fall
    dry_run INTEGER NOT NULL,
    costs_service INTEGER NOT NULL,
    result TEXT,                    -- recovered, returned, ineffective, …; NULL: not known yet, or withheld
    said TEXT NOT NULL,             -- of the result, in words
    freed_bytes INTEGER,            -- by how much it had fallen; NULL: not known
    seconds REAL,                   -- until it had
    pause_seconds REAL,             -- the longest that a worker says it was held up
    ended REAL                      -- unix seconds
);
CREATE INDEX attempt_incident ON attempt (incident);
CREATE INDEX attempt_wall ON attempt (wall);
