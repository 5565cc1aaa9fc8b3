-- The turn of loads is a lock of its own. It was the row of sdi.state, which who revokes a key or withdraws a layer writes
-- as well: while a load of a million derived its layers (10 s and more), both waited for it.
SET LOCAL ROLE sdi_owner;

COMMENT ON TABLE sdi.state IS
    'Grows with every load, publish and withdraw, and with every change of agencies, keys and grants: services look again. '
    'A load writes this row at its commit alone; the turn of loads is an advisory lock, see take_turn() in ledger.py';

-- At the commit, and named to fire before the trail is written to, whose head is always the last that is waited for.
CREATE FUNCTION sdi.publication_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE sdi.state SET version = version + 1;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION sdi.publication_changed() FROM PUBLIC;
CREATE CONSTRAINT TRIGGER renewed AFTER INSERT OR UPDATE ON sdi.publication
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.publication_changed();

RESET ROLE;
