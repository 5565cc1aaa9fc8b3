-- One row for each building (or permit) and rule, at the parcel that holds the building's inner point; reads
-- parcel_overview and building_permits, which are made first. The geometry is the building as it was delivered, so that
-- no point has to cross the datum here. Tolerances stand in the CTE `tolerance`; they are this project's, not the law's.
WITH RECURSIVE
tolerance AS (
    SELECT
        1.0 AS outside_m2, 0.02 AS outside_share,
        0.1 AS line_depth_m, 0.5 AS line_length_m,
        0.1 AS height_m, 20.0 AS elsewhere_m
),
code AS (
    SELECT DISTINCT ON (c.code) c.code, coalesce(c.successor, c.code) AS present, c.parent
    FROM sdi.code AS c
    WHERE c.list = 'land_use'
    ORDER BY c.code, c.ordinal DESC
),
ancestor (code, above) AS (
    SELECT code.code, code.code FROM code
    UNION
    SELECT ancestor.code, code.parent
    FROM ancestor
    JOIN code ON code.code = ancestor.above
    WHERE code.parent IS NOT NULL
),
wanted AS MATERIALIZED (
    -- The parcels that can have a conflict at all: a building at them, or a permit of their key.
    SELECT s.id
    FROM subject AS s
    JOIN construction.buildings AS b ON s.geom_wgs84 && b.geom_wgs84
    UNION
    SELECT s.id
    FROM subject AS s
    JOIN construction.construction_permits AS g ON g.parcel_key = s.parcel_key
),
parcel AS MATERIALIZED (
    SELECT
        s.id, s.geom, s.geom_wgs84, ST_SRID(s.geom) AS srid, o.parcel_key, o.density, o.density_max, o.floors_max,
        o.permits, o.commune_code, o.land_use_code, o.withheld, s.land_use_code AS main_code,
        CASE WHEN jsonb_typeof(s.use_purposes) = 'array' THEN s.use_purposes ELSE '[]' END AS purposes
    FROM wanted
    JOIN subject AS s ON s.id = wanted.id
    JOIN cadastre.parcel_overview AS o ON o.subject_id = s.id
),
land AS (
    SELECT
        s.id,
        bool_or(ancestor.above = 'OTC') AS residential,
        count(DISTINCT m.code) = count(DISTINCT m.code) FILTER (WHERE ancestor.above IN ('NNP', 'CSD')) AS unbuildable
    FROM parcel AS s
    CROSS JOIN LATERAL (
        SELECT s.main_code AS code
        UNION
        SELECT item.code FROM jsonb_to_recordset(s.purposes) AS item (code text)
    ) AS m
    JOIN code ON code.code = m.code
    JOIN ancestor ON ancestor.code = code.present
    GROUP BY s.id
),
building AS MATERIALIZED (
    SELECT
        s.id AS parcel, s.srid, b.id, b.geom, b.geom_wgs84, g.geom AS grid_geom, ST_Area(g.geom) AS area,
        b.floors, b.height, b.building_use, b.status, b.year_built, b.recorded_on, b.permit_number, b.permit_exempt
    FROM parcel AS s
    JOIN construction.buildings AS b
        ON s.geom_wgs84 && b.geom_wgs84 AND ST_Intersects(s.geom_wgs84, ST_PointOnSurface(b.geom_wgs84))
    CROSS JOIN LATERAL (SELECT sdi.regrid(b.geom, s.srid) AS geom) AS g
    WHERE coalesce(b.status, 'existing') NOT IN ('planned', 'demolished')
),
candidate AS (
    -- What may speak for a building: the permit of the number it bears, and those of its parcel.
    SELECT
        b.parcel, b.id AS building, true AS by_number, NULL AS basis, g.permit_id AS id, g.parcel_key, g.status,
        g.issued_on, g.expires_on, g.floors_max, g.height_max, g.density_max
    FROM building AS b
    JOIN construction.building_permits AS g ON g.subject_id = b.id
    UNION ALL
    SELECT
        b.parcel, b.id, false, link.by, g.id, g.parcel_key, g.status,
        g.issued_on, g.expires_on, g.floors_max, g.height_max, g.density_max
    FROM building AS b
    JOIN parcel AS s ON s.id = b.parcel
    CROSS JOIN LATERAL jsonb_to_recordset(s.permits) AS link (id text, by text)
    JOIN construction.construction_permits AS g ON g.id = link.id
),
chosen AS MATERIALIZED (
    -- The permit that speaks best for the building: a valid one, then the one whose number it bears, then the newest.
    SELECT DISTINCT ON (c.parcel, c.building) c.*, v.valid, 'place' = ANY (p.bases) AS by_place
    FROM candidate AS c
    CROSS JOIN LATERAL (
        SELECT c.status IS NULL OR c.status IN ('issued', 'in_force', 'started', 'accepted', 'time_limited') AS valid
    ) AS v
    JOIN (
        SELECT parcel, building, id, array_agg(basis) AS bases FROM candidate GROUP BY parcel, building, id
    ) AS p ON p.parcel = c.parcel AND p.building = c.building AND p.id = c.id
    -- An application is no permit yet.
    WHERE c.status IS NULL OR c.status NOT IN ('received', 'under_review')
    ORDER BY c.parcel, c.building, v.valid DESC, c.by_number DESC, c.issued_on DESC NULLS LAST, c.id
),
unpermitted AS (
    SELECT b.parcel, b.id AS building
    FROM building AS b
    LEFT JOIN chosen AS c ON c.parcel = b.parcel AND c.building = b.id
    WHERE c.building IS NULL AND b.permit_exempt IS NOT TRUE
),
outside AS MATERIALIZED (
    SELECT b.parcel, b.id AS building, c.id AS permit, ST_Area(ST_Difference(b.grid_geom, ground.geom)) AS part
    FROM building AS b
    JOIN chosen AS c ON c.parcel = b.parcel AND c.building = b.id
    JOIN parcel AS s ON s.id = b.parcel
    CROSS JOIN LATERAL (
        SELECT coalesce(
            CASE WHEN c.parcel_key = s.parcel_key OR c.by_place THEN s.geom END,
            (
                SELECT ST_Union(sdi.regrid(p.geom, s.srid))
                FROM cadastre.cadastral_parcels AS p
                WHERE p.parcel_key = c.parcel_key
            )
        ) AS geom
    ) AS ground
    WHERE ground.geom IS NOT NULL
),
crossed AS MATERIALIZED (
    -- A wall that stands on the line does not cross it: the line must run inside the building, clear of its walls.
    SELECT b.parcel, b.id AS building, l.kind, sum(m.length) AS length
    FROM building AS b
    JOIN planning.red_lines AS l ON b.geom_wgs84 && l.geom_wgs84 AND ST_Intersects(b.geom_wgs84, l.geom_wgs84)
    CROSS JOIN tolerance
    CROSS JOIN LATERAL (
        SELECT ST_Length(
            ST_Intersection(ST_Buffer(b.grid_geom, -tolerance.line_depth_m), sdi.regrid(l.geom, b.srid))
        ) AS length
    ) AS m
    GROUP BY b.parcel, b.id, l.kind
),
limited AS (
    SELECT
        b.parcel, b.id AS building, c.id AS permit, b.floors, b.height, b.area, s.density,
        CASE WHEN c.valid THEN c.floors_max END AS permit_floors, s.floors_max AS plan_floors,
        CASE WHEN c.valid THEN c.height_max END AS permit_height,
        CASE WHEN c.valid THEN c.density_max END AS permit_density, s.density_max AS plan_density,
        row_number() OVER (PARTITION BY b.parcel ORDER BY b.area DESC, b.id) = 1 AS largest
    FROM building AS b
    JOIN parcel AS s ON s.id = b.parcel
    LEFT JOIN chosen AS c ON c.parcel = b.parcel AND c.building = b.id
),
conflict (parcel, rule, building, permit, measured, allowed, unit, limit_source) AS (
    SELECT parcel, 'no_permit', building, NULL::text, NULL::float8, NULL::float8, NULL, NULL
    FROM unpermitted

    UNION ALL
    SELECT c.parcel, 'permit_revoked', c.building, c.id, NULL, NULL, NULL, NULL
    FROM chosen AS c
    WHERE c.status IN ('refused', 'revoked', 'cancelled')

    UNION ALL
    SELECT c.parcel, 'permit_expired', c.building, c.id, NULL, NULL, NULL, NULL
    FROM chosen AS c
    JOIN building AS b ON b.parcel = c.parcel AND b.id = c.building
    WHERE c.status IS DISTINCT FROM 'accepted' AND (c.valid OR c.status = 'expired')
        AND CASE
            WHEN b.status = 'under_construction' AND b.recorded_on IS NOT NULL AND c.expires_on IS NOT NULL
                THEN b.recorded_on >= c.expires_on
            WHEN b.year_built IS NOT NULL AND c.expires_on IS NOT NULL
                THEN b.year_built > extract(year FROM c.expires_on)
            ELSE c.status = 'expired'
        END

    UNION ALL
    SELECT o.parcel, 'outside_parcel', o.building, o.permit, round(o.part::numeric, 2), 0, 'm2', NULL
    FROM outside AS o
    JOIN building AS b ON b.parcel = o.parcel AND b.id = o.building
    CROSS JOIN tolerance
    WHERE o.part > tolerance.outside_m2 AND o.part > tolerance.outside_share * b.area

    UNION ALL
    SELECT
        x.parcel, CASE x.kind WHEN 'red_line' THEN 'over_red_line' ELSE 'over_building_line' END, x.building, NULL,
        round(x.length::numeric, 2), 0, 'm', 'plan'
    FROM crossed AS x
    CROSS JOIN tolerance
    WHERE x.kind IN ('red_line', 'building_line') AND x.length > tolerance.line_length_m

    UNION ALL
    SELECT b.parcel, 'not_residential', b.id, NULL, NULL, NULL, NULL, NULL
    FROM building AS b
    JOIN land ON land.id = b.parcel
    WHERE NOT land.residential
        AND (
            b.building_use IN ('residential', 'apartments', 'mixed')
            -- Where the use is not recorded, only land that no building belongs on tells.
            OR b.building_use IS NULL AND land.unbuildable
        )

    UNION ALL
    SELECT
        d.parcel, 'over_density', d.building, d.permit, d.density, least(d.permit_density, d.plan_density), '%',
        CASE WHEN d.permit_density <= coalesce(d.plan_density, d.permit_density) THEN 'permit' ELSE 'plan' END
    FROM limited AS d
    WHERE d.largest
        AND round(d.density::numeric, 1) > round(least(d.permit_density, d.plan_density)::numeric, 1)

    UNION ALL
    SELECT
        d.parcel, 'over_floors', d.building, d.permit, d.floors, least(d.permit_floors, d.plan_floors), '1',
        CASE WHEN d.permit_floors <= coalesce(d.plan_floors, d.permit_floors) THEN 'permit' ELSE 'plan' END
    FROM limited AS d
    WHERE d.floors > least(d.permit_floors, d.plan_floors)

    UNION ALL
    SELECT d.parcel, 'over_height', d.building, d.permit, d.height, d.permit_height, 'm', 'permit'
    FROM limited AS d
    CROSS JOIN tolerance
    WHERE d.height > d.permit_height + tolerance.height_m

    UNION ALL
    SELECT s.id, 'permit_elsewhere', NULL, g.id, round(away.distance::numeric, 1), tolerance.elsewhere_m, 'm', NULL
    FROM parcel AS s
    JOIN construction.construction_permits AS g ON g.parcel_key = s.parcel_key
    CROSS JOIN tolerance
    CROSS JOIN LATERAL (SELECT ST_Distance(s.geom, sdi.regrid(g.geom, s.srid)) AS distance) AS away
    WHERE away.distance > tolerance.elsewhere_m
)
SELECT
    concat_ws(':', x.parcel, x.rule, coalesce(x.building, x.permit)) AS id,
    x.parcel AS subject_id,
    x.rule,
    x.parcel AS parcel_id,
    x.building AS building_id,
    x.permit AS permit_id,
    x.measured,
    x.allowed,
    x.unit,
    x.limit_source,
    s.commune_code,
    s.land_use_code,
    -- The parcel that the permit names may be another one, and what is built outside it tells where that one ends.
    s.withheld OR EXISTS (
        SELECT FROM cadastre.cadastral_parcels AS p
        WHERE p.parcel_key = g.parcel_key AND p.land_use_code IN ('CQP', 'CAN')
    ) AS withheld,
    coalesce(b.geom, s.geom) AS geom,
    coalesce(b.geom_wgs84, s.geom_wgs84) AS geom_wgs84
FROM conflict AS x
JOIN parcel AS s ON s.id = x.parcel
LEFT JOIN construction.construction_permits AS g ON g.id = x.permit
LEFT JOIN building AS b ON b.parcel = x.parcel AND b.id = x.building
