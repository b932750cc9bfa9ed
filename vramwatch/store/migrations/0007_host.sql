-- What the machine is called in messages: an incident is known elsewhere by its id and this name, "3f2a@gpu7".
-- By which names may one of this store be known?
--   SELECT host, max(started_wall) FROM run WHERE host IS NOT NULL GROUP BY host ORDER BY max(id) DESC;

ALTER TABLE run ADD COLUMN host TEXT;   -- NULL: an older vramwatch did not keep it
