-- The numbers of requests and grants are drawn, not counted on: who is told two of them must not learn how many others
-- there were between. What was numbered stays.
SET LOCAL ROLE sdi_owner;

ALTER TABLE sdi.request ALTER COLUMN request_id DROP IDENTITY,
    ALTER COLUMN request_id SET DEFAULT 100000 + floor(random() * 900000)::bigint;
ALTER TABLE sdi.grant ALTER COLUMN grant_id DROP IDENTITY,
    ALTER COLUMN grant_id SET DEFAULT 100000 + floor(random() * 900000)::bigint;

RESET ROLE;
