"""OGC API Tiles 1.0 (OGC 20-057): vector tiles of every feature layer, and of several layers in one tile."""
