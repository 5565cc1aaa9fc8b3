-- Parents and children of features, and which administrative unit became which.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.genealogy (
    layer text NOT NULL,
    load_id bigint NOT NULL REFERENCES sdi.load,
    load_to bigint REFERENCES sdi.load,
    origin bigint NOT NULL REFERENCES sdi.load,
    parent text NOT NULL,
    child text NOT NULL CHECK (child <> parent),
    kind text NOT NULL CHECK (kind IN ('split', 'merge', 'redivision', 'renumbering', 'replacement')),
    told_by text NOT NULL CHECK (told_by IN ('delivery', 'geometry', 'both')),
    shared_m2 double precision,
    share_of_parent double precision,
    share_of_child double precision
);
COMMENT ON TABLE sdi.genealogy IS
    'A relation holds in the states of a layer with load_id <= n < load_to, as rows do: a rollback ends those that came '
    'since, and brings back those that it had ended';
COMMENT ON COLUMN sdi.genealogy.origin IS 'The load in which the parent became the child';
COMMENT ON COLUMN sdi.genealogy.share_of_parent IS 'Percent of the parent''s area that the child has';
CREATE UNIQUE INDEX genealogy_standing ON sdi.genealogy (layer, parent, child) WHERE load_to IS NULL;
CREATE INDEX genealogy_parent ON sdi.genealogy (layer, parent);
CREATE INDEX genealogy_child ON sdi.genealogy (layer, child);
CREATE INDEX genealogy_load ON sdi.genealogy (layer, load_id);

-- Codes are used again with another meaning, so a unit is a code and the days on which it was in force.
CREATE TABLE sdi.unit (
    layer text NOT NULL,
    id text NOT NULL,
    code text NOT NULL,
    valid_from date,
    valid_to date,
    PRIMARY KEY (layer, id)
);
COMMENT ON TABLE sdi.unit IS 'From the layers of administrative units, and the former units that these only name';
COMMENT ON COLUMN sdi.unit.valid_to IS 'Exclusive; NULL: in force';
CREATE INDEX unit_code ON sdi.unit (layer, code);

CREATE TABLE sdi.succession (
    layer text NOT NULL,
    former text NOT NULL,
    successor text NOT NULL,
    share double precision,
    PRIMARY KEY (layer, former, successor)
);
COMMENT ON COLUMN sdi.succession.share IS 'Percent of the former unit''s area; NULL: not said';
CREATE INDEX succession_successor ON sdi.succession (layer, successor);

-- Units that ended and had one successor for all their ground.
CREATE VIEW sdi.entire_succession AS
SELECT s.layer, s.former, min(s.successor) AS successor
FROM sdi.succession s
JOIN sdi.unit u ON u.layer = s.layer AND u.id = s.former AND u.valid_to IS NOT NULL
GROUP BY s.layer, s.former
HAVING count(*) = 1 AND coalesce(min(s.share), 100) >= 99;

-- What codes mean on a day, in the terms of a layer that has a code and a former code:
--   code        features that bear it
--   former      features that bore it before a reform
--   unreformed  features that bear it and have no former code: it has been given to another unit since
CREATE FUNCTION sdi.units_meant(units text, asked text[], day date)
RETURNS TABLE (role text, code text) LANGUAGE sql STABLE ROWS 10 AS $$
    WITH RECURSIVE meant AS (
        SELECT a.code, u.id, u.valid_to
        FROM (SELECT DISTINCT unnest(asked) AS code) a
        LEFT JOIN LATERAL (
            SELECT o.id, o.valid_to FROM sdi.unit o WHERE o.layer = units AND o.code = a.code
            ORDER BY coalesce(o.valid_from <= day, true) AND coalesce(o.valid_to > day, true) DESC,
                coalesce(o.valid_to <= day, false) DESC, o.valid_from DESC NULLS LAST, o.id
            LIMIT 1
        ) u ON true
    ),
    member AS (
        SELECT id, valid_to IS NOT NULL AS ended, true AS itself FROM meant WHERE id IS NOT NULL
        UNION
        SELECT s.former, m.ended, false
        FROM member m JOIN sdi.entire_succession s ON s.layer = units AND s.successor = m.id
    ),
    borne AS (
        SELECT u.code, m.ended, m.itself, EXISTS (
            SELECT FROM sdi.unit o WHERE o.layer = units AND o.code = u.code AND o.id <> u.id
                AND o.valid_from >= u.valid_to
        ) AS given_again
        FROM member m JOIN sdi.unit u ON u.layer = units AND u.id = m.id
    )
    SELECT 'code', m.code FROM meant m WHERE m.id IS NULL
    UNION SELECT 'code', b.code FROM borne b WHERE NOT b.given_again
    UNION SELECT 'former', b.code FROM borne b WHERE b.ended
    UNION SELECT 'unreformed', b.code FROM borne b WHERE b.ended AND b.given_again
$$;

GRANT SELECT, INSERT, DELETE ON sdi.genealogy, sdi.unit, sdi.succession TO sdi_loader;
GRANT UPDATE (load_to) ON sdi.genealogy TO sdi_loader;
GRANT SELECT ON sdi.genealogy, sdi.unit, sdi.succession, sdi.entire_succession TO sdi_reader;
GRANT SELECT ON sdi.entire_succession TO sdi_loader;

RESET ROLE;
