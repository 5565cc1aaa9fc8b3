-- One row for each parcel of the temporary table subject, which has the columns of cadastral_parcels.
-- Searched by geom_wgs84 (GiST), measured in the parcel's own grid. An overlap below 0.1 m2 is drawing noise: areas on
-- cadastral maps are printed to 0.1 m2. "In force" is meant on the day the row is made.
-- What is cut is MATERIALIZED, and OFFSET 0 keeps a LATERAL apart: PostgreSQL would else cut the same two polygons again
-- for every use of the area. No ST_Covers, ST_Touches and the like: GEOS 3.11 gives up on some valid polygons whose edges
-- nearly coincide ("side location conflict"), and one such pair would fail the load; the overlay of ST_Intersection does not.
WITH
code AS (
    -- Each land-use code ever, with the code that stands for it today.
    SELECT DISTINCT ON (c.code) c.code, coalesce(c.successor, c.code) AS present
    FROM sdi.code AS c
    WHERE c.list = 'land_use'
    ORDER BY c.code, c.ordinal DESC
),
alike AS (
    -- Today's codes, each with all that it stands for.
    SELECT c.present, array_agg(c.code) AS codes
    FROM (
        SELECT code, present FROM code
        UNION
        SELECT present, present FROM code WHERE present NOT IN (SELECT code FROM code)
    ) AS c
    GROUP BY c.present
),
parcel AS (
    SELECT
        s.id, s.geom, s.geom_wgs84, ST_Area(s.geom) AS area, s.parcel_key, s.sheet_number, s.parcel_number,
        s.land_use_code, s.use_purposes
    FROM subject AS s
    OFFSET 0
),
greatest_purpose AS (
    SELECT s.id, (array_agg(item.code ORDER BY item.area DESC NULLS LAST, item.code))[1] AS code
    FROM subject AS s
    CROSS JOIN LATERAL jsonb_to_recordset(
        CASE WHEN jsonb_typeof(s.use_purposes) = 'array' THEN s.use_purposes ELSE '[]' END
    ) AS item (code text, area numeric)
    WHERE s.land_use_code IS NULL AND item.code IS NOT NULL
    GROUP BY s.id
),
building_cut AS MATERIALIZED (
    SELECT
        s.id AS parcel, b.id, b.floors, b.gross_floor_area, b.building_use, ST_Area(g.geom) AS whole,
        ST_Area(ST_Intersection(s.geom, g.geom)) AS part
    FROM subject AS s
    JOIN construction.buildings AS b
        ON s.geom_wgs84 && b.geom_wgs84 AND ST_Intersects(s.geom_wgs84, b.geom_wgs84)
    CROSS JOIN LATERAL (SELECT sdi.regrid(b.geom, ST_SRID(s.geom)) AS geom OFFSET 0) AS g
    WHERE coalesce(b.status, 'existing') NOT IN ('planned', 'demolished')
),
built AS (
    SELECT
        parcel,
        count(*) AS number,
        sum(part) AS footprint,
        -- A neighbour's wall drawn a little too far makes no storey of this parcel: 5 % of the building must stand here.
        max(floors) FILTER (WHERE part >= 0.05 * whole) AS floors,
        -- The floor area is known only when it is known of every building.
        CASE WHEN bool_and(coalesce(gross_floor_area, floors) IS NOT NULL)
            THEN sum(coalesce(part / whole * gross_floor_area, part * floors)) END AS floor_area,
        bool_or(building_use = 'defence') AS defence,
        jsonb_agg(
            jsonb_build_object(
                'id', id, 'area_m2', round(part::numeric, 2), 'share', round((100 * part / whole)::numeric, 2)
            )
            ORDER BY part DESC, id
        ) AS list
    FROM building_cut
    WHERE part >= 0.1
    GROUP BY parcel
),
permit_link AS (
    SELECT l.parcel_id AS parcel, l.permit_id AS id, l.basis, l.status
    FROM subject AS s
    JOIN construction.permit_parcels AS l ON l.parcel_id = s.id
),
permitted AS (
    SELECT
        parcel,
        count(*) AS number,
        jsonb_agg(jsonb_build_object('id', id, 'by', basis, 'status', status) ORDER BY basis, id) AS list
    FROM permit_link
    GROUP BY parcel
),
zone_cut AS MATERIALIZED (
    SELECT
        s.id AS parcel, ST_Area(s.geom) AS parcel_area, z.id, z.land_use_code, z.density_max, z.floors_max,
        z.far_max, substr(z.plan_code, 5, 1) AS level,
        ST_Area(ST_Intersection(s.geom, g.geom)) AS part
    FROM subject AS s
    JOIN planning.planning_zones AS z
        ON s.geom_wgs84 && z.geom_wgs84 AND ST_Intersects(s.geom_wgs84, z.geom_wgs84)
    CROSS JOIN LATERAL (SELECT sdi.regrid(z.geom, ST_SRID(s.geom)) AS geom OFFSET 0) AS g
    WHERE z.valid_to IS NULL OR z.valid_to > current_date
),
zoned AS (
    SELECT
        parcel,
        count(*) AS number,
        bool_or(land_use_code IN ('CQP', 'CAN')) AS defence,
        (array_agg(land_use_code ORDER BY part DESC, id) FILTER (WHERE land_use_code IS NOT NULL))[1] AS code,
        jsonb_agg(
            jsonb_build_object(
                'id', id, 'area_m2', round(part::numeric, 2), 'percent', round((100 * part / parcel_area)::numeric, 2)
            )
            ORDER BY part DESC, id
        ) AS list
    FROM zone_cut
    WHERE part >= 0.1
    GROUP BY parcel
),
limit_by_level AS (
    SELECT
        parcel, level, sum(part) / max(parcel_area) AS cover,
        sum(part * density_max) / sum(part) FILTER (WHERE density_max IS NOT NULL) AS density_max,
        sum(part * far_max) / sum(part) FILTER (WHERE far_max IS NOT NULL) AS far_max,
        (array_agg(floors_max ORDER BY part DESC, id))[1] AS floors_max
    FROM zone_cut
    WHERE part >= 0.1
    GROUP BY parcel, level
),
allowed AS (
    -- A general, a zoning and a detailed plan lie over each other: the most detailed one that covers half the parcel rules.
    SELECT DISTINCT ON (parcel)
        parcel, round(density_max::numeric, 2) AS density_max, round(far_max::numeric, 3) AS far_max, floors_max
    FROM limit_by_level
    ORDER BY parcel, cover >= 0.5 DESC, level DESC
),
use_cut AS MATERIALIZED (
    SELECT
        s.id AS parcel, ST_Area(s.geom) AS parcel_area, u.id, u.land_use_code,
        ST_Area(ST_Intersection(s.geom, g.geom)) AS part
    FROM subject AS s
    JOIN land.land_use AS u
        ON s.geom_wgs84 && u.geom_wgs84 AND ST_Intersects(s.geom_wgs84, u.geom_wgs84)
    CROSS JOIN LATERAL (SELECT sdi.regrid(u.geom, ST_SRID(s.geom)) AS geom OFFSET 0) AS g
),
used AS (
    SELECT
        parcel,
        bool_or(land_use_code IN ('CQP', 'CAN')) AS defence,
        jsonb_agg(
            jsonb_build_object(
                'id', id, 'code', land_use_code, 'area_m2', round(part::numeric, 2),
                'percent', round((100 * part / parcel_area)::numeric, 2)
            )
            ORDER BY part DESC, id
        ) AS list
    FROM use_cut
    WHERE part >= 0.1
    GROUP BY parcel
),
plan_cut AS MATERIALIZED (
    SELECT
        s.id AS parcel, u.id, u.land_use_code,
        ST_Area(ST_Intersection(s.geom, g.geom)) AS part
    FROM subject AS s
    JOIN land.land_use_plan AS u
        ON s.geom_wgs84 && u.geom_wgs84 AND ST_Intersects(s.geom_wgs84, u.geom_wgs84)
    CROSS JOIN LATERAL (SELECT sdi.regrid(u.geom, ST_SRID(s.geom)) AS geom OFFSET 0) AS g
    WHERE u.land_use_code IS NOT NULL AND (u.valid_to IS NULL OR u.valid_to > current_date)
),
planned AS (
    SELECT
        parcel,
        bool_or(land_use_code IN ('CQP', 'CAN')) AS defence,
        (array_agg(land_use_code ORDER BY part DESC, id))[1] AS code
    FROM plan_cut
    WHERE part >= 0.1
    GROUP BY parcel
),
commune AS (
    -- From the few communes to their parcels, so that each commune is taken apart once.
    SELECT DISTINCT ON (s.id) s.id, a.code, a.full_name
    FROM admin.admin_units AS a
    JOIN subject AS s
        ON s.geom_wgs84 && a.geom_wgs84 AND ST_Intersects(a.geom_wgs84, ST_PointOnSurface(s.geom_wgs84))
    WHERE a.level = 'commune'
        AND a.valid_from <= current_date AND (a.valid_to IS NULL OR a.valid_to > current_date)
    ORDER BY s.id, a.valid_from DESC, a.id
),
found AS (
    -- Joined with each other first: a parcel on which nothing lies is then looked up once, not seven times.
    SELECT
        parcel, built.parcel IS NOT NULL AS is_built, built.number AS buildings, built.footprint, built.floors,
        built.floor_area, built.list AS building_list,
        permitted.number AS permits, permitted.list AS permit_list,
        zoned.number AS zones, zoned.list AS zone_list,
        allowed.density_max, allowed.far_max, allowed.floors_max,
        used.list AS use_list,
        coalesce(planned.code, zoned.code) AS planned_use_code,
        coalesce(alike.codes, ARRAY[coalesce(plan.present, planned.code, zoned.code)]) AS as_planned,
        coalesce(built.defence, false) OR coalesce(zoned.defence, false) OR coalesce(used.defence, false)
            OR coalesce(planned.defence, false) AS defence
    FROM built
    FULL JOIN permitted USING (parcel)
    FULL JOIN zoned USING (parcel)
    FULL JOIN allowed USING (parcel)
    FULL JOIN used USING (parcel)
    FULL JOIN planned USING (parcel)
    LEFT JOIN code AS plan ON plan.code = coalesce(planned.code, zoned.code)
    LEFT JOIN alike ON alike.present = coalesce(plan.present, planned.code, zoned.code)
)
SELECT
    s.id,
    s.id AS subject_id,
    s.parcel_key,
    s.sheet_number,
    s.parcel_number,
    commune.code AS commune_code,
    commune.full_name AS commune_name,
    coalesce(s.land_use_code, greatest_purpose.code) AS land_use_code,
    found.planned_use_code,
    CASE WHEN found.planned_use_code IS NOT NULL AND (s.land_use_code IS NOT NULL OR jsonb_array_length(m.purposes) > 0)
        THEN NOT coalesce(s.land_use_code = ANY (found.as_planned), false)
            AND NOT coalesce(m.purposes ?| found.as_planned, false)
    END AS use_differs_from_plan,
    floor(100 * s.area + 0.5) / 100 AS map_area,
    coalesce(found.buildings, 0) AS building_count,
    m.footprint_area::double precision AS footprint_area,
    m.density::double precision AS density,
    found.density_max::double precision AS density_max,
    round(m.density, 1) > round(found.density_max, 1) AS over_density,
    found.floors,
    found.floors_max,
    found.floors > found.floors_max AS over_floors,
    m.gross_floor_area::double precision AS gross_floor_area,
    CASE WHEN s.area > 0 AND found.is_built IS NOT TRUE THEN 0
        WHEN s.area > 0 THEN round(m.gross_floor_area / s.area::numeric, 3) END::double precision AS floor_area_ratio,
    found.far_max::double precision AS far_max,
    coalesce(found.permits, 0) AS permit_count,
    coalesce(found.zones, 0) AS zone_count,
    coalesce(found.building_list, '[]') AS buildings,
    coalesce(found.permit_list, '[]') AS permits,
    coalesce(found.zone_list, '[]') AS zones,
    coalesce(found.use_list, '[]') AS uses,
    round(terrain.elevation_mean::numeric, 3)::double precision AS elevation_mean,
    round(flood.depth_mean::numeric, 3)::double precision AS flood_depth_mean,
    round(flood.depth_max::numeric, 3)::double precision AS flood_depth_max,
    coalesce(s.land_use_code = ANY (defence.codes), false)
        OR coalesce(s.use_purposes @> ANY (defence.purposes), false)
        OR coalesce(found.defence, false) AS withheld,
    s.geom,
    s.geom_wgs84
FROM parcel AS s
CROSS JOIN (
    SELECT array_agg(d.code) AS codes, array_agg(jsonb_build_array(jsonb_build_object('code', d.code))) AS purposes
    FROM (SELECT code FROM code WHERE present IN ('CQP', 'CAN') UNION VALUES ('CQP'), ('CAN')) AS d
) AS defence
LEFT JOIN greatest_purpose ON greatest_purpose.id = s.id
LEFT JOIN found ON found.parcel = s.id
LEFT JOIN commune ON commune.id = s.id
LEFT JOIN terrain.terrain__cadastral_parcels AS terrain ON terrain.id = s.id
LEFT JOIN hazard.flood_depth__cadastral_parcels AS flood ON flood.id = s.id
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN found.is_built IS NOT TRUE THEN 0 ELSE round(found.footprint::numeric, 2) END AS footprint_area,
        CASE WHEN s.area > 0 AND found.is_built IS NOT TRUE THEN 0
            WHEN s.area > 0 THEN round((100 * found.footprint / s.area)::numeric, 2) END AS density,
        CASE WHEN found.is_built IS NOT TRUE THEN 0 ELSE round(found.floor_area::numeric, 2) END AS gross_floor_area,
        CASE WHEN found.planned_use_code IS NOT NULL AND jsonb_typeof(s.use_purposes) = 'array'
            THEN jsonb_path_query_array(s.use_purposes, '$[*].code ? (@ != null)') END AS purposes
) AS m
