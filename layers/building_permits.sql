-- One row for each building of the temporary table subject, which has the columns of buildings, and permit of the number it
-- bears.
SELECT
    concat_ws(':', s.id, g.id) AS id,
    s.id AS subject_id,
    s.id AS building_id,
    g.id AS permit_id,
    g.permit_number,
    g.status,
    g.parcel_key,
    g.issued_on,
    g.expires_on,
    g.floors_max,
    g.height_max,
    g.density_max,
    coalesce(s.building_use = 'defence', false) AS withheld,
    s.geom,
    s.geom_wgs84
FROM subject AS s
JOIN construction.construction_permits AS g ON g.permit_number = s.permit_number
