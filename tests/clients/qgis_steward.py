"""What QGIS makes of the service with an agency's key; run by the distribution's Python, without a screen.

    python3 qgis_steward.py URL ORDERS

ORDERS is JSON: `user` and `key` of the agency, `layers` to open and `box` (west, south, east, north) to ask each for.
Prints one line of JSON, which tests/clients/test_qgis_steward.py judges.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsAuthMethodConfig,
    QgsFeatureRequest,
    QgsRectangle,
    QgsSettings,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import NULL

KEPT: list[Any] = []
"""Items of the browser, which QGIS 3.22 does not survive being let go of."""


def main(url: str, orders: dict[str, Any]) -> dict[str, Any]:
    own = authentication(orders["user"], orders["key"])
    wrong = authentication(orders["user"], orders["key"][::-1])
    facts: dict[str, Any] = {"version": Qgis.QGIS_VERSION_INT, "listed": {}, "layers": {}}
    for who, authcfg in (("steward", own), ("public", ""), ("wrong", wrong)):
        facts["listed"][who] = listed(url, who, authcfg)
        facts["layers"][who] = {name: told(open_layer(url, name, authcfg), orders["box"]) for name in orders["layers"]}
    return facts


def authentication(user: str, key: str) -> str:
    """An entry of QGIS's own store of logins, and its id: the way a key reaches the service and no project file."""
    manager = QgsApplication.authManager()
    assert manager.masterPasswordIsSet() or manager.setMasterPassword("of this session alone", True)
    config = QgsAuthMethodConfig("Basic")
    config.setName(f"{user} {key[:3]}")
    config.setConfig("username", user)
    config.setConfig("password", key)
    assert manager.storeAuthenticationConfig(config)
    return str(config.id())


def listed(url: str, name: str, authcfg: str) -> list[str]:
    """The collections that the browser panel shows below a connection."""
    settings = QgsSettings()
    settings.setValue(f"qgis/connections-wfs/{name}/url", url)
    settings.setValue(f"qgis/connections-wfs/{name}/version", "OGC_API_FEATURES")
    settings.setValue(f"qgis/WFS/{name}/authcfg", authcfg)
    connection = QgsApplication.dataItemProviderRegistry().provider("WFS").createDataItem(f"wfs:/{name}", None)
    connection.populate(True)
    KEPT.append(connection)
    return [child.uri() for child in connection.children()]


def open_layer(url: str, name: str, authcfg: str) -> QgsVectorLayer:
    said = f"authcfg={authcfg} " if authcfg else ""
    return QgsVectorLayer(f"{said}url='{url}' typename='{name}' restrictToRequestBBOX='1'", name, "OAPIF")


def told(layer: QgsVectorLayer, box: list[float]) -> dict[str, Any]:
    if not layer.isValid():
        return {"valid": False}
    names = [field.name() for field in layer.fields()]
    features = [
        {name: None if value == NULL else str(value) for name, value in zip(names, feature.attributes(), strict=True)}
        | {"wkt": feature.geometry().asWkt(6)}
        for feature in layer.getFeatures()
    ]
    inside = [feature["id"] for feature in layer.getFeatures(QgsFeatureRequest(QgsRectangle(*box)))]
    return {"valid": True, "type": QgsWkbTypes.displayString(layer.wkbType()), "features": features, "inside": inside}


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))), flush=True)
    os._exit(0)
