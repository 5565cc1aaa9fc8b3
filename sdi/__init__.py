"""Urban spatial data infrastructure: land, construction and cadastral layers, joined in PostGIS, shared as OGC APIs."""

__version__ = "0.1.0"
