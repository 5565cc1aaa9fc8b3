-- Roles, PostGIS, and schema sdi: what was delivered, loaded, found, put in quarantine, and what is published.
-- Runs once, as the login that owns the database; everything it makes belongs to sdi_owner.

-- Group roles are shared by all databases of a server: another deployment may have made them, even at this moment.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['sdi_owner', 'sdi_loader', 'sdi_reader'] LOOP
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
    EXECUTE format('GRANT CREATE ON DATABASE %I TO sdi_owner', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO sdi_owner, sdi_loader', current_database());
END
$$;

CREATE EXTENSION IF NOT EXISTS postgis;

DO $$
BEGIN
    EXECUTE format(
        'GRANT USAGE ON SCHEMA %I TO sdi_owner, sdi_loader, sdi_reader',
        (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'postgis')
    );
END
$$;
GRANT SELECT ON spatial_ref_sys TO sdi_owner, sdi_loader, sdi_reader;

CREATE SCHEMA sdi AUTHORIZATION sdi_owner;
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.migration (
    source text NOT NULL,
    number integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, number)
);
COMMENT ON COLUMN sdi.migration.source IS 'sdi: the numbered files of the package; layers: those beside the contracts';

CREATE TABLE sdi.state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE sdi.state IS
    'Grows with every load, publish and withdraw. A load that changes the store holds this row from then on to its end, '
    'so loads of different layers reach their derived layers one after the other.';
INSERT INTO sdi.state DEFAULT VALUES;

CREATE TABLE sdi.contract (
    layer text PRIMARY KEY,
    version text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    built_sha256 text
);
COMMENT ON COLUMN sdi.contract.built_sha256 IS
    'Of a derived layer: the fingerprint of its SQL and columns when all its rows were made last';

CREATE TABLE sdi.load (
    load_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('features', 'coverage', 'derived')),
    status text NOT NULL CHECK (status IN ('running', 'done', 'refused', 'failed')),
    mode text,
    cause bigint REFERENCES sdi.load,
    steward text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    file_name text,
    sha256 text,
    crs_declared text,
    crs_used text,
    encoding text,
    grid integer,
    operation integer,
    contract_version text NOT NULL,
    contract_sha256 text NOT NULL,
    delivery jsonb,
    by_rule jsonb,
    read bigint NOT NULL DEFAULT 0,
    inserted bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    kept bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    backend integer,
    reason text
);
CREATE INDEX load_layer ON sdi.load (layer, load_id);
CREATE INDEX load_running ON sdi.load (layer) WHERE status = 'running';
COMMENT ON COLUMN sdi.load.cause IS 'Of a derived layer: the load that made it change';
COMMENT ON COLUMN sdi.load.operation IS 'EPSG code of the operation between the grid and WGS 84';
COMMENT ON COLUMN sdi.load.kept IS 'Features whose new state is in quarantine and whose old one stays';
COMMENT ON COLUMN sdi.load.backend IS 'Server process that writes, while it runs';

CREATE TABLE sdi.finding (
    load_id bigint NOT NULL REFERENCES sdi.load,
    ordinal integer NOT NULL,
    layer text NOT NULL,
    rule text NOT NULL,
    severity text NOT NULL,
    action text NOT NULL,
    feature text,
    source_row bigint,
    attribute text,
    value jsonb,
    limit_value jsonb,
    other jsonb,
    sentence_vi text NOT NULL,
    sentence_en text NOT NULL,
    place geometry(Point, 4326),
    PRIMARY KEY (load_id, ordinal)
);

CREATE TABLE sdi.quarantine (
    load_id bigint NOT NULL REFERENCES sdi.load,
    source_row bigint NOT NULL,
    layer text NOT NULL,
    id text,
    findings jsonb NOT NULL,
    attributes jsonb NOT NULL,
    geom geometry,
    geom_wgs84 geometry
);
CREATE INDEX quarantine_load ON sdi.quarantine (load_id, source_row);
CREATE INDEX quarantine_feature ON sdi.quarantine (layer, id);

CREATE TABLE sdi.publication (
    layer text PRIMARY KEY,
    published boolean NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    count bigint NOT NULL DEFAULT 0,
    west double precision,
    south double precision,
    east double precision,
    north double precision,
    grids integer[] NOT NULL DEFAULT '{}',
    time_start timestamptz,
    time_end timestamptz,
    load_id bigint REFERENCES sdi.load,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    facts jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN sdi.publication.generation IS 'Grows only when rows changed: the layer''s entity tag';
COMMENT ON COLUMN sdi.publication.facts IS 'Of a coverage: its file below the data folder, bands, resolution';

CREATE TABLE sdi.code (
    list text NOT NULL,
    ordinal integer NOT NULL,
    code text NOT NULL,
    label_vi text NOT NULL,
    label_en text NOT NULL,
    parent text,
    valid_from date,
    valid_to date,
    successor text,
    status text NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (list, ordinal)
);
CREATE INDEX code_code ON sdi.code (list, code);

-- ST_Transform by SRID lets PROJ choose the way across a datum, and PROJ chooses EPSG:5194 around TP.HCM and Cần Thơ,
-- 0.7 to 0.8 m off the official operation. Between grids of one datum there is nothing to choose.
-- sdi.datum(integer) is written by the migration from the national list of grids.
CREATE FUNCTION sdi.datum(srid integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN NULL;

CREATE FUNCTION sdi.regrid(geom geometry, srid integer) RETURNS geometry
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    here integer := ST_SRID(geom);
BEGIN
    IF here = srid THEN
        RETURN geom;
    END IF;
    IF sdi.datum(here) IS NULL OR sdi.datum(here) IS DISTINCT FROM sdi.datum(srid) THEN
        RAISE EXCEPTION 'sdi.regrid: EPSG:% and EPSG:% are not grids of one datum', here, srid
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN ST_Transform(geom, srid);
END
$$;

-- The loader does not own the tables, and ANALYZE is the owner's.
CREATE FUNCTION sdi.analyse(target regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ANALYZE %s', target);
END
$$;
REVOKE ALL ON FUNCTION sdi.analyse(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sdi.analyse(regclass) TO sdi_loader;

GRANT USAGE ON SCHEMA sdi TO sdi_loader, sdi_reader;
GRANT SELECT, INSERT, UPDATE ON sdi.load, sdi.publication, sdi.contract TO sdi_loader;
GRANT SELECT, UPDATE ON sdi.state TO sdi_loader;
GRANT SELECT, INSERT ON sdi.finding, sdi.quarantine TO sdi_loader;
GRANT SELECT ON sdi.code, sdi.migration TO sdi_loader;

GRANT SELECT ON sdi.state, sdi.publication, sdi.code TO sdi_reader;
-- Not who delivered which file, nor why a delivery was refused: that is between the agency and its steward.
GRANT SELECT (
    load_id, layer, kind, status, mode, cause, started_at, finished_at, crs_used, grid, operation, contract_version,
    read, inserted, updated, deleted, unchanged, kept, quarantined, dropped
) ON sdi.load TO sdi_reader;

RESET ROLE;
