"""The process that opens a delivered GeoTIFF: GDAL with one format, no network, bounded memory and time.

Run as `python -m sdi.ingest.raster_child` with one JSON object on stdin; answers in JSON lines on stdout: any number of
`{"done": n, "total": n}`, then `{"facts": {…}}` or `{"error": kind, "detail": text}`. The action `describe` reads the
header; `convert` reads every cell once, in windows, and writes the Cloud Optimized GeoTIFF `out`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdi.ingest import confinement

ALLOWED = frozenset({"GTiff", "COG", "MEM"})
KNOWN = (
    "ESRI Shapefile,"
    "AAIGrid,ACE2,ADRG,AIG,AVCBin,AVCE00,AirSAR,BAG,BIGGIF,BMP,BSB,BT,BYN,CALS,CEOS,COASP,COSAR,CPG,CTG,DAAS,"
    "DERIVED,DIMAP,DOQ1,DOQ2,DTED,ECRGTOC,EEDA,EEDAI,EHdr,EIR,ENVI,ERS,ESAT,ESRIC,ESRIJSON,FAST,GDALG,GFF,GIF,"
    "GNMDatabase,GNMFile,GPKG,GRASSASCIIGrid,GRIB,GS7BG,GSAG,GSBG,GSC,GTI,GTX,GXF,GenBin,GeoJSON,GeoJSONSeq,HDF5,"
    "HDF5Image,HF2,HFA,HTTP,ILWIS,IRIS,ISCE,ISG,ISIS2,ISIS3,JAXAPALSAR,JDEM,JP2OpenJPEG,JPEG,KMLSUPEROVERLAY,KRO,"
    "L1B,LAN,LCP,LIBERTIFF,LOSLAS,Leveller,MAP,MBTiles,MFF,MFF2,MRF,MSGN,MVT,MiraMonRaster,NDF,NGSGEOID,NITF,"
    "NOAA_B,NSIDCbin,NTv2,NWT_GRC,NWT_GRD,OSM,PAux,PCIDSK,PCRaster,PDF,PDS,PDS4,PLMOSAIC,PNG,PNM,PRF,RCM,RIK,RMF,"
    "ROI_PAC,RPFTOC,RRASTER,RS2,RST,S102,S104,S111,SAFE,SAGA,SAR_CEOS,SENTINEL2,SIGDEM,SNAP_TIFF,SNODAS,SQLite,"
    "SRP,SRTMHGT,STACIT,STACTA,TGA,TIL,TSX,Terragen,TopoJSON,USGSDEM,VICAR,VRT,WCS,WEBP,WMS,WMTS,XYZ,ZMap,Zarr,"
    "netCDF"
)
"""The drivers that the wheels of rasterio have besides; what else a build has is found at run time and shut out too."""

CONFIGURATION = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no companion is looked for: .ovr, .msk and .aux.xml may be anything
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_CACHEMAX": "256",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "PROJ_NETWORK": "OFF",
    "CPL_DEBUG": "OFF",
    "OPENBLAS_NUM_THREADS": "1",
}
TILE = 512
WIDE = 4096
"""Cells of a window across: whole tiles, so that no tile is written twice."""


def main() -> None:
    order = json.loads(os.environ.pop("SDI_CHILD_ORDER", "") or sys.stdin.read())
    _confine(order)
    _shut_out_drivers(order)
    try:
        facts = _describe(order) if order["action"] == "describe" else _convert(order)
        _say({"facts": facts})
    except MemoryError:
        _say({"error": "memory"})
    except Exception as error:  # the parent makes the sentence; a library's own text goes to the log only
        _say({"error": "unreadable", "detail": f"{type(error).__name__}: {error}"[:2000]})


def _confine(order: dict[str, Any]) -> None:
    """Give up what reading the file does not need. A process that was started over has given it up already."""
    confinement.bound(order["memory"], order["cpu"], order["file_size"])
    if not os.environ.get("SDI_CHILD_AGAIN"):
        confinement.leave_network()
        out = [Path(order["out"]).parent] if "out" in order else []
        confinement.leave_files([Path.cwd(), order["path"], *out])


def _shut_out_drivers(order: dict[str, Any]) -> None:
    """Load GDAL with the allowed drivers only; start over once when the build has drivers this file does not know."""
    os.environ.update(CONFIGURATION)
    os.environ.setdefault("GDAL_SKIP", KNOWN)
    import rasterio

    with rasterio.Env() as environment:
        unknown = sorted(set(environment.drivers()) - ALLOWED)
    if unknown and os.environ.get("SDI_CHILD_AGAIN"):
        raise SystemExit(f"drivers cannot be shut out: {', '.join(unknown)}")
    if unknown:
        os.environ["GDAL_SKIP"] += "," + ",".join(unknown)
        os.environ |= {"SDI_CHILD_AGAIN": "1", "SDI_CHILD_ORDER": json.dumps(order)}
        os.execv(sys.executable, [sys.executable, "-m", "sdi.ingest.raster_child"])


def _open(path: str) -> Any:
    import warnings

    import rasterio

    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # the parent says it in its own words
    return rasterio.open(path, driver="GTiff", sharing=False)


def _describe(order: dict[str, Any]) -> dict[str, Any]:
    with _open(order["path"]) as source:
        return {
            "width": source.width, "height": source.height, "count": source.count, "dtypes": list(source.dtypes),
            "nodata": [_json(value) for value in source.nodatavals], "transform": list(source.transform)[:6],
            "bounds": list(source.bounds), "blocks": [list(shape) for shape in source.block_shapes],
            "crs": source.crs.to_wkt() if source.crs else None,
        }  # fmt: skip


def _convert(order: dict[str, Any]) -> dict[str, Any]:
    """Copy window by window into a plain tiled GeoTIFF with the CRS that was decided, then into the COG."""
    import rasterio
    from rasterio.shutil import copy

    plain = Path(order["out"] + ".plain")
    with _open(order["path"]) as source:
        sums = [_Sums(scale, offset) for scale, offset in zip(source.scales, source.offsets, strict=True)]
        masked = _has_mask(source)
        with rasterio.open(plain, "w", **_profile(source, order["epsg"])) as target:
            target.scales, target.offsets = source.scales, source.offsets
            for index, band in enumerate(order["bands"], start=1):
                target.set_band_description(index, band["name"])
                target.set_band_unit(index, band["unit"])
            for window in _windows(source.width, source.height):
                values = source.read(window=window)
                target.write(values, window=window)
                if masked:
                    target.write_mask(source.dataset_mask(window=window), window=window)
                for index, total in enumerate(sums):
                    total.add(values[index], source.read_masks(index + 1, window=window))
        resampling = "AVERAGE" if _is_continuous(source.dtypes) else "NEAREST"
    copy(
        plain, order["out"], driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=TILE, BIGTIFF="IF_SAFER",
        OVERVIEWS="AUTO", OVERVIEW_RESAMPLING=resampling, NUM_THREADS="ALL_CPUS",
    )  # fmt: skip
    plain.unlink()
    return {"bands": [total.facts() for total in sums], "size": Path(order["out"]).stat().st_size}


def _profile(source: Any, epsg: int) -> dict[str, Any]:
    import rasterio

    photometric = {"photometric": "RGB"} if source.colorinterp[:3] == _rgb() else {}
    return {
        "driver": "GTiff", "width": source.width, "height": source.height, "count": source.count,
        "dtype": source.dtypes[0], "nodata": source.nodata, "crs": rasterio.CRS.from_epsg(epsg),
        "transform": source.transform, "tiled": True, "blockxsize": TILE, "blockysize": TILE,
        "compress": "ZSTD", "ZSTD_LEVEL": 1, "BIGTIFF": "IF_SAFER", "SPARSE_OK": True,
    } | photometric  # fmt: skip


def _rgb() -> tuple[Any, ...]:
    from rasterio.enums import ColorInterp

    return ColorInterp.red, ColorInterp.green, ColorInterp.blue


def _has_mask(source: Any) -> bool:
    from rasterio.enums import MaskFlags

    return all(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in source.mask_flag_enums)


def _is_continuous(dtypes: Any) -> bool:
    """Whether neighbouring cells may be averaged for an overview: measures and photographs, not class codes."""
    return all(dtype.startswith("float") for dtype in dtypes) or (len(dtypes) >= 3 and set(dtypes) == {"uint8"})


def _windows(width: int, height: int) -> Iterator[Any]:
    from rasterio.windows import Window

    total = math.ceil(width / WIDE) * math.ceil(height / TILE)
    done = 0
    for top in range(0, height, TILE):
        for left in range(0, width, WIDE):
            yield Window(left, top, min(WIDE, width - left), min(TILE, height - top))
            done += 1
            _say({"done": done, "total": total})


class _Sums:
    """Least, greatest and mean value of a band's cells with data, in the band's unit (scale and offset applied)."""

    def __init__(self, scale: float, offset: float) -> None:
        self.scale, self.offset = scale, offset
        self.count, self.total = 0, 0.0
        self.least, self.greatest = math.inf, -math.inf

    def add(self, values: Any, mask: Any) -> None:
        import numpy as np

        good = values[(mask > 0) & np.isfinite(values)].astype(np.float64) * self.scale + self.offset
        if len(good):
            self.count += len(good)
            self.total += float(good.sum())
            self.least, self.greatest = min(self.least, float(good.min())), max(self.greatest, float(good.max()))

    def facts(self) -> dict[str, Any]:
        if not self.count:
            return {"count": 0, "min": None, "max": None, "mean": None}
        return {"count": self.count, "min": self.least, "max": self.greatest, "mean": self.total / self.count}


def _json(value: float | None) -> float | str | None:
    """A nodata value as JSON: NaN and infinities by their names."""
    return value if value is None or math.isfinite(value) else str(value)


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
