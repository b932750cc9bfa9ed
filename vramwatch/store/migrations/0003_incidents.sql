-- What was judged of the polls, and what judging goes on from after a restart.
-- The sentences of a firing incident, newest first:
--   SELECT datetime(wall, 'unixepoch'), state, cause, evidence ->> 'sentence' FROM transition ORDER BY id DESC;

-- One growth on one subject. Where it stands now is its newest transition.
CREATE TABLE incident (
    id TEXT PRIMARY KEY,
    gpu TEXT NOT NULL,              -- UUID
    kind TEXT NOT NULL,             -- what its subject is: owner, unattributed, gpu
    owner TEXT,                     -- key of the owner, where it is one
    opened REAL NOT NULL            -- unix seconds
) WITHOUT ROWID;
CREATE INDEX incident_owner ON incident (owner);

-- A move of an incident, or an update within its state; committed with the poll that caused it.
CREATE TABLE transition (
    id INTEGER PRIMARY KEY,         -- in the order in which it was judged
    seq INTEGER NOT NULL,           -- of the poll that was judged
    wall REAL NOT NULL,
    boottime REAL NOT NULL,
    boot_id TEXT NOT NULL,
    incident TEXT NOT NULL REFERENCES incident (id),
    state TEXT NOT NULL,            -- pending, firing, resolved
    severity TEXT NOT NULL,         -- warning, critical
    cause TEXT NOT NULL,
    pattern TEXT NOT NULL,          -- what was found
    pid INTEGER,                    -- the process that grows, where it is one
    rate_low REAL,                  -- bytes a second, with its 80 % interval; NULL: no growth over time
    rate_median REAL,
    rate_high REAL,
    exhaustion_at REAL,             -- unix seconds, with its 80 % interval; NULL: see abstention
    exhaustion_low REAL,
    exhaustion_high REAL,
    abstention TEXT,                -- why there is no forecast
    reason TEXT NOT NULL,           -- why it moved
    evidence TEXT NOT NULL,         -- JSON: sentence, numbers (units in their names), since, until, count
    ruled_out TEXT NOT NULL,        -- JSON: causes that were looked at and are not it: cause, sentence, numbers
    others TEXT NOT NULL,           -- patterns that say the same: "same_state,daily_floor"
    alternatives TEXT NOT NULL      -- causes that cannot be told from it: "kv_cache,fragmentation"
);
CREATE INDEX transition_incident ON transition (incident);
CREATE INDEX transition_wall ON transition (wall);
CREATE INDEX transition_seq ON transition (seq);

-- What the judge remembered after one poll: the newest alone. Polls after it are judged again at start.
CREATE TABLE checkpoint (
    seq INTEGER PRIMARY KEY,        -- the newest poll that is in it; 0: none
    wall REAL NOT NULL,
    boottime REAL NOT NULL,
    boot_id TEXT NOT NULL,
    version INTEGER NOT NULL,       -- of this form; a newer one is left unread
    state BLOB NOT NULL             -- JSON, deflated (RFC 1950)
);

-- What an event tells of a process that ran out of memory.
ALTER TABLE event ADD COLUMN pid INTEGER;
ALTER TABLE event ADD COLUMN numbers TEXT;      -- JSON: name with unit -> value; NULL: none
ALTER TABLE event ADD COLUMN origin TEXT;       -- who says so: log, worker, engine, recorded, inferred
