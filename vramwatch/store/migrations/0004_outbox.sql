-- Whom to tell of incidents, what became of it, and what people said of them.
-- Why was nobody told last night?
--   SELECT datetime(wall, 'unixepoch'), incident, channel, notice, withheld, detail FROM step ORDER BY id DESC;

-- Who stood where when it moved: JSON, names and bytes; NULL: nobody looked, or could.
ALTER TABLE transition ADD COLUMN scene TEXT;

-- A message on its way to one channel, or delivered, or given up.
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    key TEXT NOT NULL,              -- idempotency key: the same whenever this message is sent again
    kind TEXT NOT NULL,             -- incidents, test, digest
    made REAL NOT NULL,             -- unix seconds
    text TEXT NOT NULL,             -- of a test or a digest; of incidents it is made from their transitions
    attempts INTEGER NOT NULL,      -- begun so far
    uncertain INTEGER NOT NULL,     -- whether one of them may have arrived without our knowing
    due REAL,                       -- unix seconds of the next attempt; NULL: it is over
    outcome TEXT,                   -- of the newest attempt: delivered, retry, rejected, superseded; NULL: none yet
    detail TEXT NOT NULL,           -- what the receiver answered, in words; bounded
    ended REAL,                     -- unix seconds
    reference TEXT                  -- what the receiver calls it: a message's timestamp, a dedup key
);
CREATE INDEX delivery_due ON delivery (due) WHERE due IS NOT NULL;

-- A notice of an incident for one channel: told, or withheld and why. Committed with the poll that caused it.
CREATE TABLE step (
    id INTEGER PRIMARY KEY,         -- in the order in which it was decided
    seq INTEGER NOT NULL,           -- of the poll at which it was decided
    wall REAL NOT NULL,
    incident TEXT NOT NULL REFERENCES incident (id),
    transition_id INTEGER NOT NULL, -- the incident as it stood then
    channel TEXT NOT NULL,
    notice TEXT NOT NULL,           -- opened, worse, updated, repeated, resolved
    severity TEXT NOT NULL,
    due REAL,                       -- unix seconds; NULL: withheld
    withheld TEXT,                  -- the reason; NULL: to be told
    detail TEXT NOT NULL,           -- which silence, until when, by whom
    delivery INTEGER REFERENCES delivery (id)
);
CREATE INDEX step_incident ON step (incident, channel);
CREATE INDEX step_delivery ON step (delivery) WHERE delivery IS NOT NULL;
CREATE INDEX step_waiting ON step (channel) WHERE delivery IS NULL AND withheld IS NULL;

-- An operator's "not now", and the time of observing that a fresh service begins with ('observe').
CREATE TABLE silence (
    id TEXT PRIMARY KEY,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    since REAL NOT NULL,            -- unix seconds
    until REAL NOT NULL,
    matcher TEXT NOT NULL           -- JSON: field -> glob; {}: everything
) WITHOUT ROWID;

-- What a person said of an incident: acknowledged, resolved, marked as a false alarm or as a true one.
CREATE TABLE remark (
    id INTEGER PRIMARY KEY,
    incident TEXT NOT NULL REFERENCES incident (id),
    wall REAL NOT NULL,
    kind TEXT NOT NULL,             -- ack, resolve, false_alarm, true_alarm
    author TEXT NOT NULL,
    note TEXT NOT NULL,
    severity TEXT NOT NULL          -- of the incident then
);
CREATE INDEX remark_incident ON remark (incident);
