"""QGIS opens a collection and takes its features; run by the distribution's Python, without a screen.

    python3 qgis_reading.py URL COLLECTION FEATURES SECONDS

Ends after so many features or seconds. Prints on the way lines of JSON: features, seconds, `first` (seconds until the
first feature, with opening the layer), and whether all came.
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
    first = 0.0
    for features, _ in enumerate(layer.getFeatures() if layer.isValid() else (), 1):
        taken = perf_counter() - begun
        first = first or taken
        if features == most or features % 1000 == 0 or taken > seconds:
            told = {"features": features, "seconds": taken, "first": first, "whole": features == most}
            print(json.dumps(told), flush=True)
        if features == most or taken > seconds:
            break
    os._exit(0)  # its download is not waited for


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
