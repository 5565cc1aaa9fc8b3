-- The register of findings and of the quarantine follows a rollback, and is searched by place.
SET LOCAL ROLE sdi_owner;

ALTER TABLE sdi.quarantine
    DROP CONSTRAINT quarantine_ended_as_check,
    ADD CONSTRAINT quarantine_ended_as_check
        CHECK (ended_as IN ('corrected', 'absent', 'waived', 'repeated', 'undone'));
COMMENT ON COLUMN sdi.quarantine.ended_as IS
    'corrected: the delivery ended_by brought the feature without fault; absent: it no longer had it; waived: it was let'
    ' pass; repeated: it brought the feature with a fault again, and that state is the one in quarantine; undone: the'
    ' rollback ended_by took back the load that told it';
COMMENT ON COLUMN sdi.finding.ended_by IS
    'The later delivery that told anew about the same feature or file, or the rollback that took back the load';

-- What was ended and stands again, so that what stood after any load can be told: an entry did not stand in the states
-- of its layer with ended_by <= n < reopened_by, nor does it from its present ended_by on.
CREATE TABLE sdi.reopened (
    register text NOT NULL CHECK (register IN ('finding', 'quarantine')),
    layer text NOT NULL,
    load_id bigint NOT NULL REFERENCES sdi.load,
    number bigint NOT NULL,
    ended_by bigint NOT NULL REFERENCES sdi.load,
    ended_as text CHECK ((ended_as IS NULL) = (register = 'finding')),
    reopened_by bigint NOT NULL REFERENCES sdi.load,
    CHECK (load_id < reopened_by AND ended_by < reopened_by)
);
COMMENT ON TABLE sdi.reopened IS 'Appended to only, by rollbacks';
COMMENT ON COLUMN sdi.reopened.load_id IS 'The load that told the entry';
COMMENT ON COLUMN sdi.reopened.number IS 'Of a finding its ordinal, of a row of the quarantine its source_row';
CREATE INDEX reopened_entry ON sdi.reopened (register, load_id, number);
CREATE INDEX reopened_load ON sdi.reopened (reopened_by);

CREATE INDEX finding_ended_by ON sdi.finding (ended_by) WHERE ended_by IS NOT NULL;
CREATE INDEX quarantine_ended_by ON sdi.quarantine (ended_by) WHERE ended_by IS NOT NULL;

-- The quality collections are asked by place, page by page, from QGIS.
CREATE INDEX finding_place ON sdi.finding USING gist (place) WHERE ended_by IS NULL;
CREATE INDEX quarantine_place ON sdi.quarantine USING gist (geom_wgs84) WHERE ended_by IS NULL;

GRANT SELECT, INSERT ON sdi.reopened TO sdi_loader;

RESET ROLE;
