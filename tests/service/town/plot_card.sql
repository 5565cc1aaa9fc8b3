SELECT s.id, s.id AS subject_id,
       round(ST_Area(s.geom)::numeric, 2)::double precision AS map_area,
       coalesce(w.count, 0)::bigint AS work_count,
       coalesce(w.items, '[]'::jsonb) AS works,
       coalesce(p.use = 'CQP', false) AS defence,
       s.geom, s.geom_wgs84
FROM subject s
JOIN testtown.plots p ON p.id = s.id
LEFT JOIN LATERAL (
    SELECT count(*) AS count,
           jsonb_agg(jsonb_build_object('id', k.id, 'distance', 1.5) ORDER BY k.id) AS items
    FROM testtown.works k
    WHERE k.geom_wgs84 && s.geom_wgs84 AND ST_Intersects(k.geom_wgs84, s.geom_wgs84)
) w ON true
