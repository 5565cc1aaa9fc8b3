-- What becomes of bad features: until when a finding holds, which one a steward lets pass, how good a layer is, and who
-- may look at all that.

-- The stewards' role: everything the public's role reads, and the quality collections in schema qa. The service takes it
-- only for a request that carries an agency's key, on connections of their own: a fault on the public's way cannot show
-- what its role cannot select.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sdi_steward') THEN
        BEGIN
            CREATE ROLE sdi_steward NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role('sdi_steward', 'sdi_reader', 'USAGE') THEN
        GRANT sdi_reader TO sdi_steward;
    END IF;
    IF NOT pg_has_role(current_user, 'sdi_steward', 'USAGE') THEN
        EXECUTE format('GRANT sdi_steward TO %I', current_user);
    END IF;
END
$$;

CREATE SCHEMA qa AUTHORIZATION sdi_owner;
SET LOCAL ROLE sdi_owner;
COMMENT ON SCHEMA qa IS 'Views that follow from the contracts: the findings and the quarantine of each layer';
GRANT USAGE ON SCHEMA qa TO sdi_steward;

ALTER TABLE sdi.finding ADD COLUMN waived text, ADD COLUMN ended_by bigint REFERENCES sdi.load;
COMMENT ON COLUMN sdi.finding.waived IS 'The reason for which a steward let it pass';
COMMENT ON COLUMN sdi.finding.ended_by IS 'The later delivery that told anew about the same feature or file';
CREATE INDEX finding_current ON sdi.finding (layer, feature) WHERE ended_by IS NULL;

ALTER TABLE sdi.quarantine
    ADD COLUMN ended_by bigint REFERENCES sdi.load,
    ADD COLUMN ended_as text CHECK (ended_as IN ('corrected', 'absent', 'waived', 'repeated')),
    ADD CONSTRAINT quarantine_ended CHECK ((ended_by IS NULL) = (ended_as IS NULL));
COMMENT ON COLUMN sdi.quarantine.ended_as IS
    'corrected: the delivery ended_by brought the feature without fault; absent: it no longer had it; waived: it was let'
    ' pass; repeated: it brought the feature with a fault again, and that state is the one in quarantine';
CREATE INDEX quarantine_current ON sdi.quarantine (layer, id) WHERE ended_by IS NULL;

CREATE TABLE sdi.waiver (
    waiver_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer text NOT NULL,
    rule text NOT NULL,
    feature text NOT NULL,
    reason text NOT NULL CHECK (btrim(reason) <> ''),
    steward text NOT NULL,
    given_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until date,
    revoked_at timestamptz,
    revoked_by text,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
COMMENT ON TABLE sdi.waiver IS 'Appended to only: a waiver ends by its date or is revoked, and stays to be read';
COMMENT ON COLUMN sdi.waiver.until IS 'The last day on which it holds; NULL: until it is revoked';
CREATE UNIQUE INDEX waiver_standing ON sdi.waiver (layer, rule, feature) WHERE revoked_at IS NULL;

CREATE FUNCTION sdi.waiver_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.revoked_at IS NOT NULL
        OR to_jsonb(NEW) - 'revoked_at' - 'revoked_by' <> to_jsonb(OLD) - 'revoked_at' - 'revoked_by'
    THEN
        RAISE EXCEPTION 'sdi.waiver: what was given is revoked, never changed or deleted'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER waiver_history BEFORE UPDATE OR DELETE ON sdi.waiver
    FOR EACH ROW EXECUTE FUNCTION sdi.waiver_history();

CREATE VIEW sdi.waiver_in_force AS
SELECT waiver_id, layer, rule, feature, reason, steward, given_at, until
FROM sdi.waiver
WHERE revoked_at IS NULL AND (until IS NULL OR until >= (now() AT TIME ZONE 'Asia/Ho_Chi_Minh')::date);

-- A feature can break one rule twice, in two attributes that were read from one column: its rules are told once each.
CREATE VIEW sdi.held AS
SELECT q.load_id, q.source_row, q.layer, q.id, q.findings, q.attributes, q.geom, q.geom_wgs84, q.ended_by, q.ended_as,
    l.started_at AS delivered_at, l.file_name, l.steward, told.rules, told.vi, told.en,
    CASE
        WHEN q.ended_as = 'absent' THEN 'corrected'
        WHEN q.ended_as IS NOT NULL THEN q.ended_as
        WHEN told.covered THEN 'waived'
        ELSE 'open'
    END AS state
FROM sdi.quarantine q
JOIN sdi.load l USING (load_id)
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT f ->> 'rule', ', ' ORDER BY f ->> 'rule') AS rules,
        string_agg(DISTINCT f ->> 'vi', ' ' ORDER BY f ->> 'vi') AS vi,
        string_agg(DISTINCT f ->> 'en', ' ' ORDER BY f ->> 'en') AS en,
        bool_and(w.waiver_id IS NOT NULL) AS covered
    FROM jsonb_array_elements(q.findings) AS found (f)
    LEFT JOIN sdi.waiver_in_force w ON w.layer = q.layer AND w.rule = f ->> 'rule' AND w.feature = q.id
    WHERE f ->> 'action' = 'quarantine'
) AS told;
COMMENT ON VIEW sdi.held IS
    'The quarantine with its state: open, corrected (or no longer delivered), waived, repeated (by a newer row)';

CREATE TABLE sdi.quality (
    layer text NOT NULL,
    load_id bigint NOT NULL REFERENCES sdi.load,
    element text NOT NULL,
    evaluated bigint NOT NULL,
    faulty bigint NOT NULL,
    waived bigint NOT NULL,
    rate double precision NOT NULL,
    evaluated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (layer, load_id, element)
);
COMMENT ON TABLE sdi.quality IS
    'After each load, by data quality element of ISO 19157-1: of the features handed in (served, or open in quarantine)'
    ' how many have a standing error or warning; waived ones are counted apart';

CREATE TABLE sdi.agency_key (
    key_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agency text NOT NULL,
    sha256 text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    note text
);
COMMENT ON TABLE sdi.agency_key IS 'What agencies show to the service: 256 random bits each, of which the digest is kept';

GRANT UPDATE (ended_by) ON sdi.finding TO sdi_loader;
GRANT UPDATE (ended_by, ended_as) ON sdi.quarantine TO sdi_loader;
GRANT SELECT, INSERT ON sdi.waiver, sdi.quality TO sdi_loader;
GRANT UPDATE (revoked_at, revoked_by) ON sdi.waiver TO sdi_loader;
GRANT SELECT ON sdi.waiver_in_force, sdi.held TO sdi_loader;
-- The public reads rates, not how many features of whom were at fault.
GRANT SELECT (layer, load_id, element, rate, evaluated_at) ON sdi.quality TO sdi_reader;
GRANT SELECT (agency, sha256, revoked_at) ON sdi.agency_key TO sdi_steward;

RESET ROLE;
