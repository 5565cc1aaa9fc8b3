-- Entries come into the trail many at once: what each is hashed behind takes one after another, all else one statement.
-- This may run again: a database that a backup is restored into gets it before the backup's own tables.
SET LOCAL ROLE sdi_auditor;

DO $$
BEGIN
    ALTER TABLE sdi_audit.entry ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;  -- a server that was built without it goes on with its own
END
$$;

CREATE OR REPLACE FUNCTION sdi_audit.append(from_spool uuid, first bigint, bodies text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    last bigint;
    chained bytea;
    known bigint := 0;
    came bigint := cardinality(bodies);
    moment timestamptz := clock_timestamp();
    behind text;
    content text;
    hashes bytea[] := '{}';
BEGIN
    SELECT h.seq, h.hash INTO STRICT last, chained FROM sdi_audit.head h FOR UPDATE;
    IF from_spool IS NOT NULL THEN
        known := coalesce((SELECT s.lines FROM sdi_audit.spool s WHERE s.spool = from_spool), 0);
        IF first > known THEN
            RAISE EXCEPTION 'lines of the spool file are missing' USING ERRCODE = 'data_exception';
        END IF;
        INSERT INTO sdi_audit.spool AS s (spool, lines) VALUES (from_spool, greatest(first + came, known))
            ON CONFLICT (spool) DO UPDATE SET lines = excluded.lines;
        bodies := bodies[known - first + 1 :];
        came := cardinality(bodies);
    END IF;
    moment := clock_timestamp();
    behind := E'\n' || (extract(epoch FROM moment) * 1000000)::bigint || E'\n';
    FOREACH content IN ARRAY bodies LOOP
        last := last + 1;
        chained := sha256(chained || convert_to(last || behind || content, 'UTF8'));
        hashes := hashes || chained;
    END LOOP;
    INSERT INTO sdi_audit.entry (seq, recorded_at, at, action, agency, layers, ids, body, hash)
        SELECT last - came + e.number, moment, (told ->> 'at')::timestamptz, told ->> 'action', told ->> 'agency',
            ARRAY(SELECT jsonb_array_elements_text(coalesce(told -> 'layers', '[]'))),
            nullif(ARRAY(SELECT jsonb_array_elements_text(
                jsonb_path_query_array(told, '$.reads[*].ids[*]') || coalesce(told -> 'asked', '[]'))), '{}'),
            e.content, e.hash
        FROM unnest(bodies, hashes) WITH ORDINALITY AS e(content, hash, number),
            LATERAL (SELECT e.content::jsonb OFFSET 0) AS t(told);
    UPDATE sdi_audit.head SET seq = last, hash = chained;
    RETURN came;
END
$$;
RESET ROLE;
