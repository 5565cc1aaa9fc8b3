-- Who may change the register of agencies from the administrators' page, and what it says of a merger.

-- The registrars' role: enters agencies, makes and ends keys, gives and takes back grants. It cannot delete, cannot change
-- what was granted, cannot read a key's digest, and cannot make an administrator.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sdi_registrar') THEN
        BEGIN
            CREATE ROLE sdi_registrar NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    IF NOT pg_has_role('sdi_registrar', 'sdi_reader', 'USAGE') THEN
        GRANT sdi_reader TO sdi_registrar;
    END IF;
    IF NOT pg_has_role(current_user, 'sdi_registrar', 'USAGE') THEN
        EXECUTE format('GRANT sdi_registrar TO %I', current_user);
    END IF;
END
$$;

SET LOCAL ROLE sdi_owner;

ALTER TABLE sdi.agency
    ADD COLUMN administrator boolean NOT NULL DEFAULT false CHECK (NOT administrator OR kind <> 'public'),
    ADD COLUMN merged_by text,
    ADD COLUMN merged_why text;
COMMENT ON COLUMN sdi.agency.administrator IS 'Its keys open the administrators'' page of the service';
COMMENT ON COLUMN sdi.agency.merged_at IS 'From then on its keys act for the other, and its grants are the other''s';

GRANT SELECT, INSERT (id, kind, name_vi, name_en, since, entered_by),
    UPDATE (kind, name_vi, name_en, since, merged_into, merged_at, merged_by, merged_why) ON sdi.agency TO sdi_registrar;
GRANT SELECT (key_id, agency, name, note, created_at, created_by, expires_at, revoked_at, revoked_by),
    INSERT (agency, sha256, note, name, expires_at, created_by), UPDATE (expires_at, revoked_at, revoked_by)
    ON sdi.agency_key TO sdi_registrar;
GRANT SELECT, INSERT, UPDATE (revoked_at, revoked_by, revoked_why) ON sdi.grant TO sdi_registrar;

RESET ROLE;
