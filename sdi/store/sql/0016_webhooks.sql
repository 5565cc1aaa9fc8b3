-- Who is to be called when a layer has changed, and how far each was told.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.webhook (
    webhook_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agency text NOT NULL REFERENCES sdi.agency,
    layer text NOT NULL,
    url text NOT NULL CHECK (length(url) <= 2000),
    secret bytea NOT NULL CHECK (length(secret) BETWEEN 24 AND 64),
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL DEFAULT session_user,
    removed_at timestamptz,
    removed_by text,
    place jsonb,
    told_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    next_at timestamptz,
    gave_up_at timestamptz,
    outcome text
);
COMMENT ON TABLE sdi.webhook IS 'Addresses that are told that a layer has changed for an agency; the secret signs what they are told';
COMMENT ON COLUMN sdi.webhook.place IS 'Up to where it was told, and by which rule; NULL: it was just made';
COMMENT ON COLUMN sdi.webhook.outcome IS 'Of the last call: a status, or why there was none';
CREATE INDEX webhook_standing ON sdi.webhook (next_at) WHERE removed_at IS NULL AND gave_up_at IS NULL;

RESET ROLE;
