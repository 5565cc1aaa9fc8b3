-- What happened to layers besides loads, for the register's change log: published, withdrawn, a contract that changed.
-- By triggers, so that no way to publish can forget to tell; whose hand it was is told nowhere.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.layer_event (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer text NOT NULL,
    event text NOT NULL CHECK (event IN ('published', 'withdrawn', 'contract')),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    contract_version text
);
CREATE INDEX layer_event_layer ON sdi.layer_event (layer, at);
COMMENT ON TABLE sdi.layer_event IS 'Appended to only';
COMMENT ON COLUMN sdi.layer_event.contract_version IS 'Of a contract: the version that holds from then on';

-- What is known of the time before: when a layer was loaded first, which published it, and its contract of today.
INSERT INTO sdi.layer_event (layer, event, at)
    SELECT l.layer, 'published', min(l.finished_at) FROM sdi.load l JOIN sdi.publication p USING (layer)
    WHERE l.status = 'done' AND l.finished_at IS NOT NULL GROUP BY l.layer ORDER BY 3;
INSERT INTO sdi.layer_event (layer, event, at, contract_version)
    SELECT layer, 'contract', applied_at, version FROM sdi.contract ORDER BY applied_at;

CREATE FUNCTION sdi.tell_publication() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO sdi.layer_event (layer, event)
        VALUES (NEW.layer, CASE WHEN NEW.published THEN 'published' ELSE 'withdrawn' END);
    RETURN NULL;
END
$$;
CREATE TRIGGER publication_begins AFTER INSERT ON sdi.publication
    FOR EACH ROW WHEN (NEW.published) EXECUTE FUNCTION sdi.tell_publication();
CREATE TRIGGER publication_changes AFTER UPDATE OF published ON sdi.publication
    FOR EACH ROW WHEN (OLD.published <> NEW.published) EXECUTE FUNCTION sdi.tell_publication();

CREATE FUNCTION sdi.tell_contract() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO sdi.layer_event (layer, event, contract_version) VALUES (NEW.layer, 'contract', NEW.version);
    RETURN NULL;
END
$$;
CREATE TRIGGER contract_begins AFTER INSERT ON sdi.contract
    FOR EACH ROW EXECUTE FUNCTION sdi.tell_contract();
CREATE TRIGGER contract_changes AFTER UPDATE OF version, sha256 ON sdi.contract
    FOR EACH ROW WHEN ((OLD.version, OLD.sha256) IS DISTINCT FROM (NEW.version, NEW.sha256))
    EXECUTE FUNCTION sdi.tell_contract();

GRANT SELECT, INSERT ON sdi.layer_event TO sdi_loader;
GRANT SELECT ON sdi.layer_event TO sdi_reader;

RESET ROLE;
