-- A first load can be taken back as well: then a rollback restores no load, but the nothing before it, which is 0.
SET LOCAL ROLE sdi_owner;

ALTER TABLE sdi.load DROP CONSTRAINT load_restores_fkey;
COMMENT ON COLUMN sdi.load.restores IS
    'Of a rollback (mode rollback): the load whose state came back; 0: the nothing before the first one';

RESET ROLE;
