-- What filters call. All are total: no input makes them fail, so that no filter can tell a hidden row by an error.
SET LOCAL ROLE sdi_owner;

-- CASEI (CQL2 7.4): case folded by Unicode, whatever the database's own locale is.
CREATE FUNCTION sdi.casei(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(value COLLATE "und-x-icu");

-- ACCENTI (CQL2 7.5): without tone and vowel marks (and the other marks of Latin letters), đ as d; case is kept.
-- Marks: grave, acute, tilde, hook above, dot below, circumflex, breve, horn, diaeresis, cedilla, ring, caron.
CREATE FUNCTION sdi.accenti(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN translate(
    normalize(value, NFD),
    U&'\0111\0110\0300\0301\0303\0309\0323\0302\0306\031B\0308\0327\030A\030C',
    'dD'
);

-- A name as people type it into a search box: `nguyen` finds Nguyễn and NGUYỄN.
CREATE FUNCTION sdi.fold(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sdi.casei(sdi.accenti(value));

-- `base ^ exponent` in double precision; null where it is undefined or beyond 10^±260.
CREATE FUNCTION sdi.power(base numeric, exponent numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN exponent = 0 THEN 1
    WHEN base = 0 THEN CASE WHEN exponent > 0 THEN 0 END
    WHEN base < 0 AND exponent <> trunc(exponent) THEN NULL
    WHEN abs(ln(abs(base))) > 600 OR abs(exponent) > 1e6 THEN NULL
    WHEN abs(exponent * ln(abs(base))) > 600 THEN NULL
    ELSE power(base::double precision, exponent::double precision)::numeric
END;

RESET ROLE;
