-- Who asked for what, and what they were told: a refusal is written, with its ground (NĐ 194/2025/NĐ-CP Điều 16.2).
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.request (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agency text NOT NULL REFERENCES sdi.agency,
    layer text NOT NULL,
    classes text[] NOT NULL CHECK (classes <@ ARRAY['open', 'agency', 'restricted'] AND classes <> '{}'),
    communes text[],
    actions text[] NOT NULL CHECK (actions <@ ARRAY['read', 'export', 'load', 'edit', 'approve'] AND actions <> '{}'),
    purpose text NOT NULL CHECK (purpose <> ''),
    legal_basis text NOT NULL CHECK (legal_basis <> ''),
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked_by text NOT NULL DEFAULT session_user,
    answer text CHECK (answer IN ('granted', 'narrowed', 'refused')),
    answered_at timestamptz,
    answered_by text,
    why text,
    grant_id bigint REFERENCES sdi.grant,
    CHECK ((answer IS NULL) = (answered_at IS NULL)),
    CHECK ((answer IN ('granted', 'narrowed')) = (grant_id IS NOT NULL)),
    CHECK (answer NOT IN ('narrowed', 'refused') OR why <> '')
);
CREATE INDEX request_open ON sdi.request (asked_at) WHERE answer IS NULL;
COMMENT ON TABLE sdi.request IS 'What agencies asked to be shown; nothing is deleted here';

CREATE TABLE sdi.holiday (
    day date PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
COMMENT ON TABLE sdi.holiday IS 'Days that are no working days besides Saturdays and Sundays; entered each year';

GRANT SELECT ON sdi.request, sdi.holiday TO sdi_steward;
GRANT SELECT, INSERT (agency, layer, classes, communes, actions, purpose, legal_basis, asked_by),
    UPDATE (answer, answered_at, answered_by, why, grant_id) ON sdi.request TO sdi_registrar;
GRANT SELECT ON sdi.holiday TO sdi_registrar;

RESET ROLE;
