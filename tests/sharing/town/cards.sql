SELECT
    s.id,
    s.id AS subject_id,
    s.number AS sheet,
    coalesce(found.count, 0) AS work_count,
    coalesce(found.items, '[]') AS works,
    found.first AS first_work,
    coalesce(s.use = 'CQP', false) AS defence,
    found.cost AS cost_sum,
    s.geom,
    s.geom_wgs84
FROM subject AS s
CROSS JOIN LATERAL (
    SELECT
        count(*) AS count,
        min(w.id COLLATE "C") AS first,
        sum(w.cost) AS cost,
        jsonb_agg(jsonb_build_object('id', w.id, 'floors', w.floors) ORDER BY w.id COLLATE "C") AS items
    FROM sharingtown.works AS w
    WHERE w.geom_wgs84 && s.geom_wgs84 AND ST_Intersects(w.geom_wgs84, s.geom_wgs84)
) AS found
