"""How a layer looks, from its contract: for QGIS (QML), for OGC clients (SLD 1.1) and for web maps (MapLibre)."""
