-- Who asks, and what they were granted. What becomes of it is put together in sdi.access.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.agency (
    id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_]{0,54}$'),
    kind text NOT NULL CHECK (kind IN ('department', 'ward', 'province', 'utility', 'public')),
    name_vi text NOT NULL CHECK (name_vi <> ''),
    name_en text NOT NULL CHECK (name_en <> ''),
    since date,
    merged_into text REFERENCES sdi.agency CHECK (merged_into <> id),
    merged_at timestamptz,
    entered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entered_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE sdi.agency IS 'Who layers are shared with: departments, wards, provinces, utilities; "public" is everybody';
COMMENT ON COLUMN sdi.agency.merged_into IS 'Its keys act for this one, and its grants are this one''s';
INSERT INTO sdi.agency (id, kind, name_vi, name_en) VALUES ('public', 'public', 'Công chúng', 'The public');
-- Who has a key already is an agency; its name is entered when it is told.
INSERT INTO sdi.agency (id, kind, name_vi, name_en)
    SELECT DISTINCT agency, 'department', agency, agency FROM sdi.agency_key ON CONFLICT DO NOTHING;

ALTER TABLE sdi.agency_key
    ADD COLUMN name text,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN created_by text NOT NULL DEFAULT session_user,
    ADD COLUMN revoked_by text;
COMMENT ON COLUMN sdi.agency_key.name IS 'Who acts with it, a person or a machine';

CREATE TABLE sdi.grant (
    grant_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agency text NOT NULL REFERENCES sdi.agency,
    layer text NOT NULL,
    classes text[] NOT NULL CHECK (classes <@ ARRAY['open', 'agency', 'restricted']),
    attributes text[],
    rows text,
    communes text[],
    polygon geometry(Geometry, 4326) CHECK (ST_IsValid(polygon) AND ST_Dimension(polygon) = 2),
    precision text NOT NULL DEFAULT 'exact' CHECK (precision IN ('exact', 'generalised', 'centroid', 'none')),
    metres double precision NOT NULL DEFAULT 0 CHECK (metres >= 0 AND metres <= 100000),
    actions text[] NOT NULL CHECK (actions <@ ARRAY['read', 'export', 'load', 'edit', 'approve'] AND actions <> '{}'),
    valid_from date,
    valid_to date CHECK (valid_to > valid_from),
    legal_basis text,
    purpose text,
    given_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    given_by text NOT NULL DEFAULT session_user,
    revoked_at timestamptz,
    revoked_by text,
    revoked_why text,
    CHECK (precision <> 'generalised' OR metres > 0)
);
CREATE INDEX grant_agency ON sdi.grant (agency) WHERE revoked_at IS NULL;
COMMENT ON TABLE sdi.grant IS 'What an agency may do with a layer; several add up. Nothing is deleted here: what ended says so';
COMMENT ON COLUMN sdi.grant.rows IS 'CQL2 text that a feature must fulfil';
COMMENT ON COLUMN sdi.grant.metres IS 'For precision "generalised": the step of the grid on which vertices are told';

-- Services look again when the version grows: a grant and a key are in force, and out of it, as soon as it is seen.
CREATE FUNCTION sdi.register_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE sdi.state SET version = version + 1;
    PERFORM pg_notify('sdi', 'agencies');
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION sdi.register_changed() FROM PUBLIC;
CREATE TRIGGER register_changed AFTER INSERT OR UPDATE OR DELETE ON sdi.agency
    FOR EACH STATEMENT EXECUTE FUNCTION sdi.register_changed();
CREATE TRIGGER register_changed AFTER INSERT OR UPDATE OR DELETE ON sdi.agency_key
    FOR EACH STATEMENT EXECUTE FUNCTION sdi.register_changed();
CREATE TRIGGER register_changed AFTER INSERT OR UPDATE OR DELETE ON sdi.grant
    FOR EACH STATEMENT EXECUTE FUNCTION sdi.register_changed();

GRANT SELECT ON sdi.agency, sdi.grant TO sdi_steward;
GRANT SELECT (name, expires_at) ON sdi.agency_key TO sdi_steward;

RESET ROLE;
