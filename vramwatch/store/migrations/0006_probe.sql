-- Runs of the probe, as they were handed to the daemon: figures by which later runs are measured.
-- What did the peak do since the last torch?
--   SELECT datetime(made, 'unixepoch'), environment ->> 'torch', figures ->> '$.reference.peak' FROM probe
--   WHERE model = 'tiny-llama' ORDER BY number;

CREATE TABLE probe (
    number INTEGER PRIMARY KEY,     -- in the order in which it was handed in
    id TEXT NOT NULL UNIQUE,        -- when it was made, UTC: "20261125T172522Z"
    made REAL NOT NULL,             -- the same in unix seconds
    seq INTEGER NOT NULL,           -- of the newest poll then: it goes when that hour does
    author TEXT NOT NULL,           -- who handed it in, as the kernel says
    scheduled INTEGER NOT NULL,     -- whether a timer began it
    accepted INTEGER NOT NULL,      -- whether a person says that it is the new measure
    digest TEXT NOT NULL,           -- of all that was asked: the same experiment has the same
    model TEXT NOT NULL,            -- a name, never the path of a folder
    device TEXT NOT NULL,           -- "cpu", or the GPU as its driver calls it
    asked TEXT NOT NULL,            -- JSON, as are those below
    environment TEXT NOT NULL,      -- versions of driver, torch, transformers, …
    figures TEXT NOT NULL,          -- by variant: how it ended, bytes, tokens a second
    faults TEXT NOT NULL            -- by name, those of the experiment itself
);
CREATE INDEX probe_made ON probe (made);
