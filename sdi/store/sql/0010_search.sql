-- Text search (`q`): trigrams find a part of a name without a look at every row.

-- In PostgreSQL's contrib since long, and trusted since 13: the owner of the database may create it.
-- Named, for a login called sdi would have it in the schema of that name, which the owner's role does not search.
CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;

SET LOCAL ROLE sdi_owner;

-- ACCENTI (CQL2 7.5) as in 0002, and the letters that Unicode does not take apart: ø as o, ł as l, ħ as h, ŧ as t.
CREATE OR REPLACE FUNCTION sdi.accenti(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN translate(
    normalize(value, NFD),
    U&'\0111\0110\00F8\00D8\0142\0141\0127\0126\0167\0166\0300\0301\0303\0309\0323\0302\0306\031B\0308\0327\030A\030C',
    'dDoOlLhHtT'
);

RESET ROLE;
