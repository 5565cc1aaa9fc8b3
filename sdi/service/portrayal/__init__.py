"""How layers look: styles at the addresses of OGC API - Styles (draft 20-009), and QGIS projects."""
