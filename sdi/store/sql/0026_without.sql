-- An index of the features that lack what all should have stays while the rows of a first load come, as the one does that
-- leaves out what is NULL where nothing comes: it is nearly empty, and to build it reads the whole table.
SET LOCAL ROLE sdi_owner;

CREATE OR REPLACE FUNCTION sdi.unindex(target regclass, empty name[] = '{}') RETURNS boolean
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
        WHERE i.indrelid = target AND NOT EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = target AND i.indnatts = 1 AND pg_get_expr(i.indpred, target) = format(
                CASE WHEN a.attname = ANY (empty) THEN '(%I IS NOT NULL)' ELSE '(%I IS NULL)' END, a.attname))
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

RESET ROLE;
