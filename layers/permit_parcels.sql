-- One row for each permit of the temporary table subject, which has the columns of construction_permits, and parcel it is
-- for.
-- The key decides; by place only when it names no parcel, for a point is often no better than a geocoded address. A
-- parcel that is withheld is none here: that a row by place lacks would tell of it.
WITH link AS (
    SELECT g.id AS permit, p.id AS parcel, 'key' AS basis
    FROM subject AS g
    JOIN cadastre.cadastral_parcels AS p ON p.parcel_key = g.parcel_key
    UNION ALL
    SELECT g.id, p.id, 'place'
    FROM subject AS g
    JOIN cadastre.cadastral_parcels AS p
        ON p.geom_wgs84 && g.geom_wgs84 AND ST_Intersects(p.geom_wgs84, g.geom_wgs84)
    WHERE (p.parcel_key = g.parcel_key) IS NOT TRUE AND NOT EXISTS (
        SELECT FROM cadastre.cadastral_parcels AS other
        WHERE other.parcel_key = g.parcel_key AND coalesce(other.land_use_code NOT IN ('CQP', 'CAN'), true)
    )
)
SELECT
    concat_ws(':', link.permit, link.parcel) AS id,
    link.permit AS subject_id,
    link.permit AS permit_id,
    link.parcel AS parcel_id,
    link.basis,
    g.permit_number,
    g.status,
    g.issued_on,
    coalesce(p.land_use_code IN ('CQP', 'CAN'), false) AS withheld,
    p.geom,
    p.geom_wgs84
FROM link
JOIN subject AS g ON g.id = link.permit
JOIN cadastre.cadastral_parcels AS p ON p.id = link.parcel
