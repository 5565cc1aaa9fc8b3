-- Where each load changed a layer, so that what is kept of other places (vector tiles) stands.
SET LOCAL ROLE sdi_owner;

CREATE TABLE sdi.touched (
    layer text NOT NULL,
    generation bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    boxes double precision[],
    PRIMARY KEY (layer, generation)
);
COMMENT ON TABLE sdi.touched IS
    'What became different between a generation of a layer and the one before it. The oldest entry of a layer stands '
    'for everything up to it. Where there is none, nothing is known of the layer.';
COMMENT ON COLUMN sdi.touched.boxes IS
    'West, south, east, north in WGS 84 degrees, one box after the other: the boxes of old and new shapes, or boxes '
    'around several of them; NULL: everywhere';
COMMENT ON COLUMN sdi.touched.at IS
    'Tells generations apart that a restored database counts again';

-- What is there already is as if it had just come.
INSERT INTO sdi.touched (layer, generation) SELECT layer, generation FROM sdi.publication;

GRANT SELECT, INSERT, UPDATE, DELETE ON sdi.touched TO sdi_loader;
GRANT SELECT ON sdi.touched TO sdi_reader;

RESET ROLE;
