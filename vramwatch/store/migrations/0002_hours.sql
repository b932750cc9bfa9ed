-- History in hours. The polls of the open hour are rows of `tick`; when an hour has closed they become one
-- row of `axis` (when was read), one row of `raw` a GPU (what was read), and one row of `hourly` a series,
-- in plain columns. By and by `raw` is folded into `minutes`, and of old hours `hourly` alone is kept.
-- To look at it by hand, begin with the view `readable`:
--   SELECT * FROM readable WHERE owner = 'unit:llama.service' AND quantity = 'used_bytes' ORDER BY hour;
-- Order is seq, one number a poll. Columns named *_wall are unix seconds, which may step; *_boottime is
-- seconds since boot. A stretch [since_seq, until_seq) holds its first poll and not its last; until_seq NULL:
-- it still goes on. The blobs are described in store/columns.py, ticks.py, hours.py and rollups.py.

-- A stretch of polls within one hour of the clock. Where the clock steps back an hour can come twice.
CREATE TABLE hour (
    id INTEGER PRIMARY KEY,         -- seq of its first poll
    wall INTEGER NOT NULL,          -- unix seconds at which the hour begins
    last_seq INTEGER,               -- its last poll; NULL: its polls still are in tick
    polls INTEGER,
    since_wall REAL,                -- the earliest and the latest time of a poll
    until_wall REAL,
    last_wall REAL,                 -- its last poll
    last_boottime REAL,
    run INTEGER REFERENCES run (id)
);
CREATE INDEX hour_wall ON hour (wall);

-- The polls of one transaction: a run in which nothing changed, and one that changed something.
CREATE TABLE tick (
    seq INTEGER PRIMARY KEY,        -- of its first poll
    hour INTEGER NOT NULL REFERENCES hour (id),
    last_seq INTEGER NOT NULL,
    complete INTEGER NOT NULL,      -- 1: its last poll names every value, changed or not
    polls BLOB NOT NULL
);

-- The series that were read together of one GPU, in an hour whose polls are in tick.
CREATE TABLE sweep (
    hour INTEGER NOT NULL REFERENCES hour (id),
    id INTEGER NOT NULL,
    series TEXT NOT NULL,           -- JSON: their ids
    PRIMARY KEY (hour, id)
) WITHOUT ROWID;

-- What a ledger says beside its figures, each way of saying it once.
CREATE TABLE note (
    id INTEGER PRIMARY KEY,
    basis TEXT NOT NULL,
    explanations TEXT NOT NULL,     -- why bytes may be unattributed, most likely first: "withheld,mps"
    UNIQUE (basis, explanations)
);

CREATE TABLE axis (
    hour INTEGER PRIMARY KEY REFERENCES hour (id),
    polls BLOB NOT NULL
);

CREATE TABLE raw (
    hour INTEGER NOT NULL REFERENCES hour (id),
    gpu INTEGER NOT NULL REFERENCES gpu (id),
    samples BLOB NOT NULL,
    PRIMARY KEY (hour, gpu)
);

CREATE TABLE minutes (
    hour INTEGER NOT NULL REFERENCES hour (id),
    gpu INTEGER NOT NULL REFERENCES gpu (id),
    rollups BLOB NOT NULL,
    PRIMARY KEY (hour, gpu)
);

-- One series in one hour, over the samples that were read in it.
CREATE TABLE hourly (
    series INTEGER NOT NULL REFERENCES series (id),
    hour INTEGER NOT NULL REFERENCES hour (id),
    count INTEGER NOT NULL,         -- samples; 0: it had a value from before and was not read
    first NUMERIC NOT NULL,
    last NUMERIC NOT NULL,
    minimum NUMERIC NOT NULL,
    mean REAL NOT NULL,
    maximum NUMERIC NOT NULL,
    ended INTEGER NOT NULL,         -- 1: it had no value any more at the end of the hour
    PRIMARY KEY (series, hour)
) WITHOUT ROWID;

DROP VIEW readable;

-- References to a row a poll are no more: these three tables are as before without them.
CREATE TABLE process_next (
    id INTEGER PRIMARY KEY,
    boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL,   -- 0: it was never seen alive
    owner INTEGER NOT NULL REFERENCES owner (id),
    user TEXT,
    command TEXT NOT NULL,
    container TEXT,
    pod TEXT,
    namespace TEXT,
    unit TEXT,
    job TEXT,
    engine TEXT,
    model TEXT,
    facts TEXT NOT NULL,            -- JSON: all that is known of it
    first_seq INTEGER NOT NULL,
    last_seq INTEGER,               -- the last poll that saw it on a GPU; NULL while it is there
    UNIQUE (boot_id, pid, start_ticks)
);
INSERT INTO process_next SELECT * FROM process;
DROP TABLE process;
ALTER TABLE process_next RENAME TO process;

CREATE TABLE holding_next (
    gpu INTEGER NOT NULL REFERENCES gpu (id),
    process INTEGER NOT NULL REFERENCES process (id),
    since_seq INTEGER NOT NULL,
    until_seq INTEGER,
    kinds TEXT NOT NULL,            -- "compute,graphics"
    ghost TEXT,                     -- why nobody could use what it held
    state TEXT NOT NULL,
    state_since REAL NOT NULL,      -- boottime
    PRIMARY KEY (gpu, process, since_seq)
) WITHOUT ROWID;
INSERT INTO holding_next SELECT * FROM holding;
DROP TABLE holding;
ALTER TABLE holding_next RENAME TO holding;
CREATE INDEX holding_until ON holding (until_seq);
CREATE INDEX holding_process ON holding (process);

CREATE TABLE event_next (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    wall REAL NOT NULL,
    kind TEXT NOT NULL,
    gpu TEXT,                       -- UUID
    detail TEXT NOT NULL,
    author TEXT
);
INSERT INTO event_next SELECT * FROM event;
DROP TABLE event;
ALTER TABLE event_next RENAME TO event;
CREATE INDEX event_seq ON event (seq);
CREATE INDEX event_wall ON event (wall);
CREATE INDEX series_process ON series (process);
CREATE INDEX series_owner ON series (owner);

-- Every series in every hour that has closed, for people: times in UTC.
CREATE VIEW readable AS
SELECT
    strftime('%Y-%m-%d %H:%M', hour.wall, 'unixepoch') AS hour,
    gpu.ordinal AS gpu,
    gpu.uuid,
    series.kind,
    owner.key AS owner,
    owner.name,
    process.pid,
    process.user,
    process.command,
    series.quantity,
    series.unit,
    hourly.count,
    hourly.first,
    hourly.last,
    hourly.minimum,
    hourly.mean,
    hourly.maximum
FROM hourly
JOIN hour ON hour.id = hourly.hour
JOIN series ON series.id = hourly.series
JOIN gpu ON gpu.id = series.gpu
LEFT JOIN owner ON owner.id = series.owner
LEFT JOIN process ON process.id = series.process;
