-- The key that paging cursors are signed with: one for all workers and hosts of a deployment, made here, never told.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.cursor_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    key bytea NOT NULL CHECK (length(key) >= 32)
);
COMMENT ON TABLE sdi.cursor_key IS 'Signs the cursors of next and prev links; another key makes old links invalid';
-- Two random UUIDs have 244 random bits, of the server's strong source.
INSERT INTO sdi.cursor_key (key) VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
GRANT SELECT ON sdi.cursor_key TO sdi_reader;

RESET ROLE;
