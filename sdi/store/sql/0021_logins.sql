-- What the service compares keys with: the digests of those that open something, and of no other.
SET LOCAL ROLE sdi_owner;

CREATE VIEW sdi.key_in_force WITH (security_barrier) AS
    SELECT key_id, agency, sha256, name, expires_at FROM sdi.agency_key
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp());
COMMENT ON VIEW sdi.key_in_force IS 'The keys that open something now; all that a service reads of them';
REVOKE SELECT (agency, sha256, revoked_at, name, expires_at) ON sdi.agency_key FROM sdi_steward;
GRANT SELECT ON sdi.key_in_force TO sdi_steward;

RESET ROLE;
