-- Who is at a layer now, and who alone may load it.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.hold (
    layer text PRIMARY KEY,
    steward text NOT NULL,
    file_name text,
    backend integer NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE sdi.hold IS
    'Describes who took a layer last. Whether he has it still, the advisory lock of that server process says: it ends '
    'with the connection, however that ends.';

CREATE TABLE sdi.stewardship (
    grant_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    layer text NOT NULL,
    area text,
    steward text NOT NULL CHECK (steward <> ''),
    given_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    given_by text NOT NULL DEFAULT session_user,
    revoked_at timestamptz,
    revoked_by text
);
CREATE UNIQUE INDEX stewardship_one ON sdi.stewardship (layer, coalesce(area, '')) WHERE revoked_at IS NULL;
COMMENT ON TABLE sdi.stewardship IS
    'Who alone collects a layer (NĐ 27/2019 Điều 27.1). A layer without a grant takes deliveries from anyone.';
COMMENT ON COLUMN sdi.stewardship.area IS 'A value of the layer''s load.scope; NULL: the whole layer';

GRANT SELECT, INSERT, UPDATE ON sdi.hold TO sdi_loader;
-- The owner gives; a steward's own login must not give itself a layer.
GRANT SELECT ON sdi.stewardship TO sdi_loader;

RESET ROLE;
