"""What a steward does in QGIS with a feature from quarantine; run by the distribution's Python, without a screen.

    python3 qgis_correction.py FILE LAYER

Opens the layer for editing, finds the feature whose ring crosses itself, drags its second and third vertex to each
other's places, and saves. Prints one line of JSON, which tests/clients/test_qgis_correction.py judges.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from qgis.core import QgsApplication, QgsVectorLayer


def main(file: str, name: str) -> dict[str, Any]:
    layer = QgsVectorLayer(f"{file}|layername={name}", name, "ogr")
    assert layer.isValid(), file
    assert layer.startEditing()
    feature = next(each for each in layer.getFeatures() if "geometry.invalid" in str(each["qa_rules"]))
    shape = feature.geometry()
    second, third = shape.vertexAt(1), shape.vertexAt(2)
    assert layer.moveVertex(third.x(), third.y(), feature.id(), 1)
    assert layer.moveVertex(second.x(), second.y(), feature.id(), 2)
    assert layer.commitChanges(), layer.commitErrors()
    after = layer.getFeature(feature.id()).geometry()
    return {"before": shape.isGeosValid(), "after": after.isGeosValid(), "said": str(feature["qa_sentence_vi"])}


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(main(*sys.argv[1:])), flush=True)
    os._exit(0)
