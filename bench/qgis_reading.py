"""QGIS opens a collection and takes its features; run by the distribution's Python, without a screen.

    python3 qgis_reading.py URL COLLECTION FEATURES SECONDS

Ends after so many features or seconds, and prints one line of JSON: features, seconds, `first` (seconds until the first
feature, with opening the layer), and whether it came to its end.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter

from qgis.core import QgsApplication, QgsVectorLayer


def main(url: str, name: str, most: int, seconds: float) -> None:
    begun = perf_counter()
    layer = QgsVectorLayer(f"url='{url}' typename='{name}'", name, "OAPIF")
    features, first, whole = 0, 0.0, layer.isValid()
    if layer.isValid():
        for _ in layer.getFeatures():
            features += 1
            first = first or perf_counter() - begun
            if features == most or perf_counter() - begun > seconds:
                whole = features == most
                break
    print(json.dumps({"features": features, "seconds": perf_counter() - begun, "first": first, "whole": whole}))
    sys.stdout.flush()
    os._exit(0)  # its download is not waited for


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
