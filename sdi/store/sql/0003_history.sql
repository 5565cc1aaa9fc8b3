-- Record time: when the store knew what. A state of the past is named by a load, or by an instant.
SET LOCAL ROLE sdi_owner;

ALTER TABLE sdi.load ADD COLUMN restores bigint REFERENCES sdi.load;
COMMENT ON COLUMN sdi.load.restores IS 'Of a rollback (mode rollback): the load whose state came back';
COMMENT ON COLUMN sdi.load.finished_at IS
    'Of a load that is done: the instant of its commit, one for it and the derived layers it changed, and later than '
    'that of every load committed before';
COMMENT ON COLUMN sdi.load.load_id IS
    'Within a layer the ids of what is done grow in the order of the commits: see in_order() in ledger.py';

ALTER TABLE sdi.state ADD COLUMN committed_at timestamptz;
COMMENT ON COLUMN sdi.state.committed_at IS 'The instant that the last load got at its commit';

-- What a load made of the derived layers became visible with the load itself.
UPDATE sdi.load l SET finished_at = f.finished_at
FROM (SELECT cause, max(finished_at) AS finished_at FROM sdi.load WHERE status = 'done' GROUP BY cause) f
WHERE l.load_id = f.cause AND l.status = 'done' AND l.finished_at < f.finished_at;
UPDATE sdi.load l SET finished_at = c.finished_at
FROM sdi.load c WHERE c.load_id = l.cause AND l.status = 'done' AND c.status = 'done';
UPDATE sdi.state SET committed_at = (SELECT max(finished_at) FROM sdi.load);

CREATE INDEX load_done ON sdi.load (layer, finished_at, load_id) WHERE status = 'done';

-- Runs at the commit itself, behind all else that the transaction does. The row of sdi.state is locked from here to the
-- end of the transaction (a load holds it already), so that instants grow in the order of the commits, and a clock that
-- is set back does not turn them around.
CREATE FUNCTION sdi.stamp_load() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := nullif(current_setting('sdi.moment', true), '')::timestamptz;
BEGIN
    IF moment IS NULL THEN
        UPDATE sdi.state SET committed_at = greatest(clock_timestamp(), committed_at + interval '1 microsecond')
        RETURNING committed_at INTO moment;
        PERFORM set_config('sdi.moment', moment::text, true);
    END IF;
    UPDATE sdi.load SET finished_at = moment WHERE load_id = NEW.load_id AND status = 'done';
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER stamp AFTER INSERT OR UPDATE OF status ON sdi.load
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'done') EXECUTE FUNCTION sdi.stamp_load();

GRANT SELECT (restores) ON sdi.load TO sdi_reader;

RESET ROLE;
