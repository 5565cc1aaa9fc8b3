-- The first load of an empty layer builds its indexes behind the rows, not with each row. Indexes are the owner's: the
-- loader may have them taken off a layer's table only while that is empty, and no transaction commits without them.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.unindexed (
    target regclass NOT NULL,
    ordinal integer NOT NULL,
    definition text NOT NULL,
    PRIMARY KEY (target, ordinal)
);
COMMENT ON TABLE sdi.unindexed IS 'Within a transaction: what sdi.unindex() took off and sdi.reindex() puts back; else empty';

CREATE FUNCTION sdi.unindex(target regclass) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made record;
    filled boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class r JOIN sdi.contract c ON c.layer = r.relname WHERE r.oid = target) THEN
        RAISE EXCEPTION 'sdi.unindex: % is no layer', target USING ERRCODE = 'insufficient_privilege';
    END IF;
    BEGIN
        -- Nobody who reads the empty table at this moment is waited for: then the indexes stay, and the load is slower.
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', target);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', target) INTO filled;
    IF filled THEN
        RETURN false;
    END IF;
    -- A new file: with wal_level = minimal PostgreSQL then writes rows and indexes once, into their own files, which the
    -- commit forces to the disk, and not also into the write-ahead log.
    EXECUTE format('TRUNCATE %s', target);
    FOR made IN
        SELECT i.indexrelid::regclass AS name, k.conname, pg_get_indexdef(i.indexrelid) AS index_definition,
            pg_get_constraintdef(k.oid) AS key_definition, row_number() OVER (ORDER BY k.oid, i.indexrelid) AS ordinal
        FROM pg_index i
        LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
        WHERE i.indrelid = target
        ORDER BY ordinal
    LOOP
        INSERT INTO sdi.unindexed VALUES (target, made.ordinal, CASE
            WHEN made.conname IS NULL THEN made.index_definition
            ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', target, made.conname, made.key_definition)
        END);
        IF made.conname IS NULL THEN
            EXECUTE format('DROP INDEX %s', made.name);
        ELSE
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target, made.conname);
        END IF;
    END LOOP;
    RETURN true;
END
$$;

CREATE FUNCTION sdi.reindex(target regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT u.definition FROM sdi.unindexed u WHERE u.target = reindex.target ORDER BY u.ordinal LOOP
        EXECUTE statement;
    END LOOP;
    DELETE FROM sdi.unindexed u WHERE u.target = reindex.target;
END
$$;

CREATE FUNCTION sdi.require_indexed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM sdi.unindexed u WHERE u.target = NEW.target) THEN
        RAISE EXCEPTION 'sdi.reindex() was not called for %', NEW.target USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER require_indexed AFTER INSERT ON sdi.unindexed
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.require_indexed();

REVOKE ALL ON FUNCTION sdi.unindex(regclass), sdi.reindex(regclass), sdi.require_indexed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sdi.unindex(regclass), sdi.reindex(regclass) TO sdi_loader;

RESET ROLE;
