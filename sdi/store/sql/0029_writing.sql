-- What agencies are granted says who may write a layer, beside `sdi steward`: a loader reads the grants, and who gives
-- one sees whom the stewards' register names.
SET LOCAL ROLE sdi_owner;

GRANT SELECT ON sdi.grant, sdi.agency TO sdi_loader;
GRANT SELECT ON sdi.stewardship TO sdi_registrar;

RESET ROLE;
