-- By what the next delivery of a layer knows rows that stand in the file as they stood before. A file from which nothing
-- changed need not be conformed again to know that; nothing is lost with this table but time.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.recognised (
    layer text NOT NULL,
    load_id bigint NOT NULL REFERENCES sdi.load,
    part integer NOT NULL,
    context bytea NOT NULL,
    day date NOT NULL,
    scope jsonb NOT NULL,
    marks bytea NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) = 2 * length(marks)),
    PRIMARY KEY (layer, load_id, part)
);
-- Hashes are not made smaller by trying.
ALTER TABLE sdi.recognised ALTER COLUMN marks SET STORAGE EXTERNAL, ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE sdi.recognised IS
    'Of each row in which a full delivery had no fault: 8 bytes of what the file said, 16 of what became of it';
COMMENT ON COLUMN sdi.recognised.context IS 'How the row was read: code, contract, encoding, grid; another way knows none';
COMMENT ON COLUMN sdi.recognised.day IS 'What was dated up to this day lay in no future';
GRANT SELECT, INSERT, DELETE ON sdi.recognised TO sdi_loader;

RESET ROLE;
