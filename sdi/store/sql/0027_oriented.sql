-- Outer rings in longitude and latitude run counterclockwise and holes clockwise (RFC 7946, 3.1.6), as new loads have
-- them. What a feature is does not change, so it stays the version it was.
SET LOCAL ROLE sdi_owner;

DO $$
DECLARE
    made record;
BEGIN
    FOR made IN
        SELECT a.attrelid::regclass AS name
        FROM pg_attribute a
        JOIN pg_class r ON r.oid = a.attrelid AND r.relkind = 'r'
        JOIN pg_namespace n ON n.oid = r.relnamespace
        WHERE a.attname = 'geom_wgs84' AND NOT a.attisdropped AND n.nspname <> 'sdi'
            AND pg_get_userbyid(n.nspowner) = 'sdi_owner' AND format_type(a.atttypid, a.atttypmod) LIKE '%Polygon%'
        ORDER BY a.attrelid
    LOOP
        EXECUTE format(
            'UPDATE %s SET geom_wgs84 = ST_ForcePolygonCCW(geom_wgs84)'
            ' WHERE NOT ST_IsPolygonCCW(geom_wgs84)', made.name
        );
    END LOOP;
END
$$;

RESET ROLE;
