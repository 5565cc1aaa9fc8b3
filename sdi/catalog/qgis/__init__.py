"""QGIS project files, written without QGIS; `tests/clients` opens them with it."""
