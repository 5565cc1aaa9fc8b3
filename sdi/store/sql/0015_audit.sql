-- The audit trail: who read what is not open, and who wrote. Rows are only added, each with the hash of the one before.
--
-- It stands in a schema of its own that belongs to a role of its own, which nothing of sdi works as: no role that loads,
-- serves or migrates may change or remove a row, and a restored backup does not take the trail back with it. This first
-- part may run again: a database that a backup is restored into gets it before the backup's own tables.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['sdi_auditor', 'sdi_recorder'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        IF NOT pg_has_role(current_user, name, 'USAGE') THEN
            EXECUTE format('GRANT %I TO %I', name, current_user);
        END IF;
    END LOOP;
END
$$;
CREATE SCHEMA IF NOT EXISTS sdi_audit AUTHORIZATION sdi_auditor;
SET LOCAL ROLE sdi_auditor;

CREATE TABLE IF NOT EXISTS sdi_audit.entry (
    seq bigint PRIMARY KEY,
    recorded_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    action text NOT NULL,
    agency text,
    layers text[] NOT NULL,
    ids text[],
    body text NOT NULL,
    hash bytea NOT NULL
);
COMMENT ON TABLE sdi_audit.entry IS 'The audit trail; nothing is ever changed here';
COMMENT ON COLUMN sdi_audit.entry.body IS 'What happened, JSON, byte for byte as it was hashed; at, action, agency, layers and ids are taken from it';
COMMENT ON COLUMN sdi_audit.entry.hash IS
    'SHA-256 of the hash of seq - 1 (32 zero bytes for the first) and of the UTF-8 text seq, line feed, recorded_at in '
    'microseconds since 1970, line feed, body';
CREATE INDEX IF NOT EXISTS entry_at ON sdi_audit.entry (at);
CREATE INDEX IF NOT EXISTS entry_about ON sdi_audit.entry USING gin (layers, ids);

CREATE TABLE IF NOT EXISTS sdi_audit.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL,
    hash bytea NOT NULL
);
COMMENT ON TABLE sdi_audit.head IS 'The last entry. Who adds one holds this row to the end of the transaction';
INSERT INTO sdi_audit.head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS sdi_audit.spool (spool uuid PRIMARY KEY, lines bigint NOT NULL);
COMMENT ON TABLE sdi_audit.spool IS 'How many lines of a spool file are in the trail: none comes in twice';

CREATE TABLE IF NOT EXISTS sdi_audit.segment (
    first_seq bigint PRIMARY KEY,
    last_seq bigint NOT NULL CHECK (last_seq >= first_seq),
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    removed_at timestamptz NOT NULL,
    removed_by text NOT NULL,
    reason text NOT NULL
);
COMMENT ON TABLE sdi_audit.segment IS 'Entries whose time of retention is over: what bridges the gap they leave in the chain';

CREATE OR REPLACE FUNCTION sdi_audit.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'sdi_auditor' AND current_setting('sdi_audit.retaining', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit trail is only added to' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE OR REPLACE TRIGGER kept BEFORE UPDATE OR DELETE ON sdi_audit.entry
    FOR EACH ROW EXECUTE FUNCTION sdi_audit.refuse();
CREATE OR REPLACE TRIGGER kept_whole BEFORE TRUNCATE ON sdi_audit.entry EXECUTE FUNCTION sdi_audit.refuse();
CREATE OR REPLACE TRIGGER kept BEFORE UPDATE OR DELETE ON sdi_audit.segment
    FOR EACH ROW EXECUTE FUNCTION sdi_audit.refuse();
CREATE OR REPLACE TRIGGER kept_whole BEFORE TRUNCATE ON sdi_audit.segment EXECUTE FUNCTION sdi_audit.refuse();

-- bodies: JSON objects. spool, first: they are lines of that file, behind its first so many; those that came before are
-- passed over. Returns how many came in.
CREATE OR REPLACE FUNCTION sdi_audit.append(from_spool uuid, first bigint, bodies text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    last bigint;
    chained bytea;
    known bigint := 0;
    line bigint := first;
    added bigint := 0;
    content text;
    told jsonb;
    moment timestamptz;
    named text[];
BEGIN
    SELECT h.seq, h.hash INTO STRICT last, chained FROM sdi_audit.head h FOR UPDATE;
    IF from_spool IS NOT NULL THEN
        known := coalesce((SELECT s.lines FROM sdi_audit.spool s WHERE s.spool = from_spool), 0);
        IF first > known THEN
            RAISE EXCEPTION 'lines of the spool file are missing' USING ERRCODE = 'data_exception';
        END IF;
    END IF;
    FOREACH content IN ARRAY bodies LOOP
        line := line + 1;
        CONTINUE WHEN from_spool IS NOT NULL AND line <= known;
        told := content::jsonb;
        last := last + 1;
        added := added + 1;
        moment := clock_timestamp();
        chained := sha256(chained || convert_to(
            last || E'\n' || (extract(epoch FROM moment) * 1000000)::bigint || E'\n' || content, 'UTF8'));
        named := ARRAY(SELECT jsonb_array_elements_text(
            jsonb_path_query_array(told, '$.reads[*].ids[*]') || coalesce(told -> 'asked', '[]')));
        INSERT INTO sdi_audit.entry (seq, recorded_at, at, action, agency, layers, ids, body, hash) VALUES (
            last, moment, (told ->> 'at')::timestamptz, told ->> 'action', told ->> 'agency',
            ARRAY(SELECT jsonb_array_elements_text(coalesce(told -> 'layers', '[]'))), nullif(named, '{}'), content, chained
        );
    END LOOP;
    UPDATE sdi_audit.head SET seq = last, hash = chained;
    IF from_spool IS NOT NULL THEN
        INSERT INTO sdi_audit.spool AS s (spool, lines) VALUES (from_spool, greatest(line, known))
            ON CONFLICT (spool) DO UPDATE SET lines = greatest(s.lines, excluded.lines);
    END IF;
    RETURN added;
END
$$;

-- Removes whole months (UTC) before a moment, leaves their hashes, and says so in the trail. Returns how many went.
CREATE OR REPLACE FUNCTION sdi_audit.retain(before timestamptz, reason text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    cut timestamptz := date_trunc('month', before);
    low bigint;
    high bigint;
BEGIN
    PERFORM FROM sdi_audit.head FOR UPDATE;
    SELECT min(seq), coalesce(min(seq) FILTER (WHERE recorded_at >= cut) - 1, max(seq)) INTO low, high FROM sdi_audit.entry;
    IF low IS NULL OR high < low THEN
        RETURN 0;
    END IF;
    INSERT INTO sdi_audit.segment SELECT
        low, high,
        coalesce((SELECT s.hash FROM sdi_audit.segment s WHERE s.last_seq = low - 1), decode(repeat('00', 32), 'hex')),
        (SELECT e.hash FROM sdi_audit.entry e WHERE e.seq = high),
        min(e.recorded_at), max(e.recorded_at), clock_timestamp(), session_user, retain.reason
        FROM sdi_audit.entry e WHERE e.seq BETWEEN low AND high;
    PERFORM set_config('sdi_audit.retaining', 'on', true);
    DELETE FROM sdi_audit.entry WHERE seq BETWEEN low AND high;
    PERFORM set_config('sdi_audit.retaining', 'off', true);
    -- Of all segments, not of this one alone: the entries that signed the earlier ones may have just gone.
    PERFORM sdi_audit.append(NULL, 0, ARRAY[jsonb_build_object(
        'at', to_char(clock_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', 'write', 'action', 'retain',
        'login', session_user, 'reason', retain.reason, 'removed', high - low + 1,
        'segments', (SELECT jsonb_agg(jsonb_build_array(first_seq, last_seq, encode(previous, 'hex'), encode(hash, 'hex'))
            ORDER BY first_seq) FROM sdi_audit.segment))::text]);
    RETURN high - low + 1;
END
$$;

-- Whether a feature is among the many of a page: there its versions stand, a line each, load and id.
CREATE OR REPLACE FUNCTION sdi_audit.has_version(body text, feature text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT strpos(body, '"versions":') > 0 AND EXISTS (
        SELECT FROM jsonb_path_query(body::jsonb, '$.reads[*].versions') v,
            LATERAL (SELECT v #>> '{}') t(versions)
        WHERE strpos(versions || E'\n', ' ' || feature || E'\n') > 0
            AND feature IN (SELECT substr(l, strpos(l, ' ') + 1) FROM string_to_table(versions, E'\n') l)
    )
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sdi_audit FROM PUBLIC;
GRANT USAGE ON SCHEMA sdi_audit TO sdi_owner, sdi_recorder, sdi_steward;
GRANT EXECUTE ON FUNCTION sdi_audit.append TO sdi_owner, sdi_recorder;
GRANT EXECUTE ON FUNCTION sdi_audit.retain TO sdi_owner;
GRANT EXECUTE ON FUNCTION sdi_audit.has_version TO sdi_owner, sdi_steward;
GRANT SELECT ON sdi_audit.entry TO sdi_owner, sdi_steward;
GRANT SELECT ON sdi_audit.head, sdi_audit.segment TO sdi_owner;
RESET ROLE;
-- sdi --
-- What writes to schema sdi is told to the trail by the tables themselves, whoever writes and by whatever way.
SET LOCAL ROLE sdi_owner;

-- At the commit, so that a load of an hour does not hold the trail for as long; and named to fire behind `stamp`, which
-- takes sdi.state: the trail's head is always the last that a transaction waits for.
CREATE FUNCTION sdi.written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    now_is jsonb;
    told jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN
        now_is := to_jsonb(OLD);
    ELSE
        now_is := to_jsonb(NEW);
    END IF;
    told := now_is - ARRAY['delivery', 'by_rule', 'backend', 'facts'];
    IF TG_TABLE_NAME = 'agency_key' THEN
        told := told - ARRAY['sha256'];
    ELSIF TG_TABLE_NAME = 'load' AND NOT EXISTS (
        SELECT FROM sdi.load l WHERE l.load_id = (now_is ->> 'load_id')::bigint AND l.status = now_is ->> 'status'
    ) THEN
        RETURN NULL;  -- it became something else before its commit, and that is told
    END IF;
    PERFORM sdi_audit.append(NULL, 0, ARRAY[jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(clock_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', 'write',
        'action', TG_TABLE_NAME, 'operation', lower(TG_OP),
        'agency', coalesce(nullif(current_setting('sdi.agency', true), ''), now_is ->> 'agency', now_is ->> 'steward'),
        'member', nullif(current_setting('sdi.member', true), ''),
        'login', session_user, 'application', nullif(current_setting('application_name', true), ''),
        'client', host(inet_client_addr()),
        'layers', CASE WHEN now_is ? 'layer' THEN jsonb_build_array(now_is ->> 'layer') ELSE '[]' END,
        'asked', CASE WHEN TG_TABLE_NAME = 'waiver' THEN jsonb_build_array(now_is ->> 'feature') END,
        'row', told))::text]);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION sdi.written() FROM PUBLIC;

CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OF status ON sdi.load
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status <> 'running') EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written_first AFTER INSERT ON sdi.publication
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written_again AFTER UPDATE OF published ON sdi.publication
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.waiver
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.stewardship
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.agency
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.agency_key
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.grant
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();

RESET ROLE;
