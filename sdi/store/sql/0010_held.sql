-- A feature can break one rule twice, in two attributes that were read from one column: its rules are told once each.
SET LOCAL ROLE sdi_owner;

CREATE OR REPLACE VIEW sdi.held AS
SELECT q.load_id, q.source_row, q.layer, q.id, q.findings, q.attributes, q.geom, q.geom_wgs84, q.ended_by, q.ended_as,
    l.started_at AS delivered_at, l.file_name, l.steward, told.rules, told.vi, told.en,
    CASE
        WHEN q.ended_as = 'absent' THEN 'corrected'
        WHEN q.ended_as IS NOT NULL THEN q.ended_as
        WHEN told.covered THEN 'waived'
        ELSE 'open'
    END AS state
FROM sdi.quarantine q
JOIN sdi.load l USING (load_id)
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT f ->> 'rule', ', ' ORDER BY f ->> 'rule') AS rules,
        string_agg(DISTINCT f ->> 'vi', ' ' ORDER BY f ->> 'vi') AS vi,
        string_agg(DISTINCT f ->> 'en', ' ' ORDER BY f ->> 'en') AS en,
        bool_and(w.waiver_id IS NOT NULL) AS covered
    FROM jsonb_array_elements(q.findings) AS found (f)
    LEFT JOIN sdi.waiver_in_force w ON w.layer = q.layer AND w.rule = f ->> 'rule' AND w.feature = q.id
    WHERE f ->> 'action' = 'quarantine'
) AS told;

RESET ROLE;
