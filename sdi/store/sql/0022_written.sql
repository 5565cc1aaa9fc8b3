-- What else is written to schema sdi is told to the trail, too: requests and their answers, holidays, webhooks; and of what
-- comes by HTTP which key wrote it, in which request.
SET LOCAL ROLE sdi_owner;

CREATE OR REPLACE FUNCTION sdi.written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    now_is jsonb;
    told jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN
        now_is := to_jsonb(OLD);
    ELSE
        now_is := to_jsonb(NEW);
    END IF;
    told := now_is - ARRAY['delivery', 'by_rule', 'backend', 'facts'];
    IF TG_TABLE_NAME = 'agency_key' THEN
        told := told - ARRAY['sha256'];
    ELSIF TG_TABLE_NAME = 'webhook' THEN
        told := told - ARRAY['secret', 'place'];
    ELSIF TG_TABLE_NAME = 'load' AND NOT EXISTS (
        SELECT FROM sdi.load l WHERE l.load_id = (now_is ->> 'load_id')::bigint AND l.status = now_is ->> 'status'
    ) THEN
        RETURN NULL;  -- it became something else before its commit, and that is told
    END IF;
    PERFORM sdi_audit.append(NULL, 0, ARRAY[jsonb_strip_nulls(jsonb_build_object(
        'at', to_char(clock_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', 'write',
        'action', TG_TABLE_NAME, 'operation', lower(TG_OP),
        'request', nullif(current_setting('sdi.request', true), ''),
        'agency', coalesce(nullif(current_setting('sdi.agency', true), ''), now_is ->> 'agency', now_is ->> 'steward',
            CASE WHEN TG_TABLE_NAME = 'agency' THEN now_is ->> 'id' END),
        'member', nullif(current_setting('sdi.member', true), ''),
        'key', nullif(current_setting('sdi.key', true), '')::bigint,
        'login', session_user, 'application', nullif(current_setting('application_name', true), ''),
        'client', host(inet_client_addr()),
        'layers', CASE WHEN now_is ? 'layer' THEN jsonb_build_array(now_is ->> 'layer') ELSE '[]' END,
        'asked', CASE WHEN TG_TABLE_NAME = 'waiver' THEN jsonb_build_array(now_is ->> 'feature') END,
        'row', told))::text]);
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.request
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON sdi.holiday
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written_first AFTER INSERT OR DELETE ON sdi.webhook
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();
CREATE CONSTRAINT TRIGGER written_again AFTER UPDATE OF removed_at ON sdi.webhook
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sdi.written();

RESET ROLE;
