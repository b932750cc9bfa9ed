-- The store of vramwatch, written by the daemon alone. To look at it by hand, begin with the view `readable`:
--   SELECT * FROM readable WHERE owner = 'unit:llama.service' AND quantity = 'used_bytes' ORDER BY seq DESC LIMIT 20;
-- Order is seq. Columns named *_wall and `wall` are unix seconds, which may step; boottime is seconds since boot.
-- A stretch [since_seq, until_seq) holds its first poll and not its last; until_seq NULL: it still goes on.

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    program TEXT NOT NULL,          -- the version of vramwatch that took this step
    applied TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- One life of the daemon.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    boot_id TEXT NOT NULL,
    source TEXT NOT NULL,           -- where its readings came from: nvml, simulated, ...
    version TEXT NOT NULL,
    started_wall REAL NOT NULL,     -- of its first poll
    last_seq INTEGER,               -- its last poll; NULL while it goes on, or if it was killed and none came after
    clean INTEGER NOT NULL DEFAULT 0 -- 1: it was stopped; 0: it goes on, or was killed
);

-- How fast vramwatch read, each way of reading once. Seconds.
CREATE TABLE pace (
    id INTEGER PRIMARY KEY,
    interval REAL NOT NULL,
    list_interval REAL NOT NULL,
    lowered_because TEXT
);

CREATE TABLE poll (
    seq INTEGER PRIMARY KEY,
    wall REAL NOT NULL,
    boottime REAL NOT NULL,
    run INTEGER NOT NULL REFERENCES run (id),
    pace INTEGER REFERENCES pace (id),
    driver_share REAL               -- of wall time inside driver calls, 0..1
);
CREATE INDEX poll_wall ON poll (wall);

-- A device or a MIG instance, as last seen.
CREATE TABLE gpu (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    ordinal TEXT NOT NULL,
    name TEXT NOT NULL,
    pci TEXT,
    parent TEXT,                    -- UUID of the device, if this is a MIG instance
    unified INTEGER NOT NULL
);

-- What a GPU's ledger says beside its figures. A row only where it differs from the GPU's row before;
-- basis NULL: the GPU is no longer there.
CREATE TABLE ledger (
    gpu INTEGER NOT NULL REFERENCES gpu (id),
    seq INTEGER NOT NULL REFERENCES poll (seq),
    basis TEXT,
    explanations TEXT,              -- why bytes may be unattributed, most likely first: "withheld,mps"
    listed_seq INTEGER,             -- the poll at which the process list was read
    PRIMARY KEY (gpu, seq)
) WITHOUT ROWID;

-- The workload as people call it; `key` is its identity.
CREATE TABLE owner (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    team TEXT,
    budget INTEGER                  -- bytes
);

-- Other names under which an owner was met.
CREATE TABLE alias (
    owner INTEGER NOT NULL REFERENCES owner (id),
    name TEXT NOT NULL,
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;

-- One life of one process, as last seen.
CREATE TABLE process (
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
    first_seq INTEGER NOT NULL REFERENCES poll (seq),
    last_seq INTEGER,               -- the last poll that saw it on a GPU; NULL while it is there
    UNIQUE (boot_id, pid, start_ticks)
);

-- A stretch in which a process was on a GPU and stood unchanged there. What it held is in its series.
CREATE TABLE holding (
    gpu INTEGER NOT NULL REFERENCES gpu (id),
    process INTEGER NOT NULL REFERENCES process (id),
    since_seq INTEGER NOT NULL REFERENCES poll (seq),
    until_seq INTEGER,
    kinds TEXT NOT NULL,            -- "compute,graphics"
    ghost TEXT,                     -- why nobody could use what it held
    state TEXT NOT NULL,
    state_since REAL NOT NULL,      -- boottime
    PRIMARY KEY (gpu, process, since_seq)
) WITHOUT ROWID;
CREATE INDEX holding_until ON holding (until_seq);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    gpu INTEGER NOT NULL REFERENCES gpu (id),
    kind TEXT NOT NULL,             -- gpu, owner, process, unattributed, ghost
    subject TEXT NOT NULL,          -- an owner's key, a process as text, or empty
    quantity TEXT NOT NULL,
    unit TEXT NOT NULL,
    owner INTEGER REFERENCES owner (id),
    process INTEGER REFERENCES process (id),
    ended_seq INTEGER,              -- the poll from which it has no value; NULL while it has one
    UNIQUE (gpu, kind, subject, quantity)
);
CREATE INDEX series_ended ON series (ended_seq);

-- A row only where the value differs from the series' row before; NULL: no value from here on.
CREATE TABLE sample (
    series INTEGER NOT NULL REFERENCES series (id),
    seq INTEGER NOT NULL REFERENCES poll (seq),
    value NUMERIC,
    PRIMARY KEY (series, seq)
) WITHOUT ROWID;

-- A stretch without readings of one GPU, or of all (gpu NULL).
CREATE TABLE gap (
    id INTEGER PRIMARY KEY,
    gpu TEXT,                       -- UUID
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,           -- as told at its first poll
    call TEXT,                      -- the driver's function, and what it answered
    code INTEGER,
    since_seq INTEGER NOT NULL,
    since_wall REAL NOT NULL,
    until_seq INTEGER,
    until_wall REAL
);
CREATE INDEX gap_until ON gap (until_seq);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL REFERENCES poll (seq),
    wall REAL NOT NULL,
    kind TEXT NOT NULL,
    gpu TEXT,                       -- UUID
    detail TEXT NOT NULL,
    author TEXT
);
CREATE INDEX event_seq ON event (seq);
CREATE INDEX event_wall ON event (wall);

-- Every stored change, for people: times in UTC.
CREATE VIEW readable AS
SELECT
    sample.seq,
    strftime('%Y-%m-%d %H:%M:%f', poll.wall, 'unixepoch') AS time,
    gpu.ordinal AS gpu,
    gpu.uuid,
    series.kind,
    owner.key AS owner,
    owner.name,
    process.pid,
    process.user,
    process.command,
    series.quantity,
    sample.value,
    series.unit
FROM sample
JOIN series ON series.id = sample.series
JOIN poll ON poll.seq = sample.seq
JOIN gpu ON gpu.id = series.gpu
LEFT JOIN owner ON owner.id = series.owner
LEFT JOIN process ON process.id = series.process;
