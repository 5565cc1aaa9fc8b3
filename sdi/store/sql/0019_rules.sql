-- By which rules changes were told: who comes back under another one is told what differs, and need not begin again.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.rule (
    layer text NOT NULL,
    rule text NOT NULL,
    told jsonb NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (layer, rule)
);
COMMENT ON TABLE sdi.rule IS 'What a rule shows of a layer, by the name that cursors of changes bear; nothing says whose it is';
COMMENT ON COLUMN sdi.rule.used_at IS 'When a cursor was given under it, to a day';

-- The roles that read layers have no way to the table but these two functions: who has no name of a rule gets none.
CREATE FUNCTION sdi.keep_rule(of_layer text, named text, shown jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO sdi.rule AS r (layer, rule, told) VALUES (of_layer, named, shown)
        ON CONFLICT (layer, rule) DO UPDATE SET used_at = excluded.used_at
        WHERE r.used_at < excluded.used_at - interval '1 day';
    -- A copy that nobody asked for changes in three months is begun again, and so are all but a layer's last thousand.
    DELETE FROM sdi.rule r WHERE r.layer = of_layer AND (r.used_at < clock_timestamp() - interval '90 days' OR r.used_at < (
        SELECT o.used_at FROM sdi.rule o WHERE o.layer = of_layer ORDER BY o.used_at DESC OFFSET 999 LIMIT 1));
$$;
CREATE FUNCTION sdi.kept_rule(of_layer text, named text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.told FROM sdi.rule r WHERE r.layer = of_layer AND r.rule = named;
$$;
REVOKE ALL ON FUNCTION sdi.keep_rule(text, text, jsonb), sdi.kept_rule(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sdi.keep_rule(text, text, jsonb), sdi.kept_rule(text, text) TO sdi_reader;

RESET ROLE;
