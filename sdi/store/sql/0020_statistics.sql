-- Agencies may be granted statistics of what they may not see.
SET LOCAL ROLE sdi_owner;

ALTER TABLE sdi.grant DROP CONSTRAINT grant_actions_check, ADD CONSTRAINT grant_actions_check
    CHECK (actions <@ ARRAY['read', 'export', 'statistics', 'load', 'edit', 'approve'] AND actions <> '{}');
ALTER TABLE sdi.request DROP CONSTRAINT request_actions_check, ADD CONSTRAINT request_actions_check
    CHECK (actions <@ ARRAY['read', 'export', 'statistics', 'load', 'edit', 'approve'] AND actions <> '{}');

RESET ROLE;
