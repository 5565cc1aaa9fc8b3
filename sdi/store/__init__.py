"""PostGIS: the only place with SQL. A private cluster, tables from contracts, loads as deltas, what is published."""
