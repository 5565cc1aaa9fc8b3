"""Other servers beside ours, each as it comes, on the same tables: tipg, MapServer, pg_featureserv, pg_tileserv.

They read views in the schema `bench`, which show what the public sees under the layer's own columns; PostgreSQL looks
through a view at no cost. What is not on this machine is left out and named.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from cases import Case, Contender, ogc
from land import GRID
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from servers import FILTER, NATIVE_TABLE, free, running, uvicorn, wait

from sdi.access import PUBLIC, row_filter, visible
from sdi.contract.layer import Layer

VIEW = "parcels"
TEMPLATES = Path("/usr/share/mapserver/ogcapi/templates/html-plain")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/cgi-bin"])

_MAP = """MAP
  NAME "bench" EXTENT 102 7 118 24 SIZE 256 256 UNITS DD
  PROJECTION "init=epsg:4326" END
  WEB METADATA
    "ows_title" "bench" "ows_enable_request" "*" "oga_enable_request" "*" "oga_max_limit" "10000"
    "oga_onlineresource" "http://127.0.0.1:{port}/bench/ogcapi" "ows_onlineresource" "http://127.0.0.1:{port}/bench"
    "oga_html_template_directory" "{templates}"
  END END
  LAYER
    NAME "parcels" TYPE POLYGON STATUS ON TEMPLATE "none"
    CONNECTIONTYPE POSTGIS CONNECTION "{connection}" PROCESSING "CLOSE_CONNECTION=DEFER"
    DATA "geom FROM bench.parcels USING UNIQUE id USING SRID=4326"
    PROJECTION "init=epsg:4326" END
    METADATA
      "ows_title" "bench" "gml_include_items" "all" "gml_featureid" "id" "oga_featureid" "id"
      "ows_extent" "102 7 118 24"
    END
  END
END
"""
_CONFIG = """CONFIG
  ENV "MS_MAP_PATTERN" "^{folder}/" "OGCAPI_HTML_TEMPLATE_DIRECTORY" "{templates}/" END
  MAPS "bench" "{folder}/bench.map" END
END
"""
_NGINX = """{user}worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err; daemon off;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 600; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi; fastcgi_buffers 64 256k; fastcgi_buffer_size 256k; fastcgi_busy_buffers_size 1m;
  fastcgi_max_temp_file_size 0; fastcgi_read_timeout 600;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      fastcgi_pass unix:{folder}/mapserver.sock; fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param SERVER_PROTOCOL $server_protocol; fastcgi_param SERVER_NAME 127.0.0.1;
      fastcgi_param SERVER_PORT $server_port; fastcgi_param HTTP_HOST $http_host; fastcgi_param SCRIPT_NAME '';
      fastcgi_param PATH_INFO $uri;
    }}
  }}
}}
"""


def prepare(url: str, layer: Layer) -> None:
    """The view, and a table in the layer's grid with an index of its own: other servers read only such a one."""
    names = {
        "columns": sql.SQL(", ").join(map(sql.Identifier, visible(PUBLIC, layer))),
        "table": sql.Identifier(*layer.table),
        "rule": sql.SQL(row_filter(PUBLIC, layer) or "true"), "native": sql.Identifier("bench", NATIVE_TABLE),
        "view": sql.Identifier("bench", VIEW), "grid": sql.Literal(GRID),
    }  # fmt: skip
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_indexes WHERE schemaname = 'bench' AND indexdef ~ 'gist'").fetchone():
            return  # a run before this one kept it
        connection.execute("CREATE SCHEMA IF NOT EXISTS bench")
        for statement in (
            "CREATE VIEW {view} AS SELECT id, {columns}, geom_wgs84 AS geom FROM {table} WHERE {rule}",
            "CREATE TABLE {native} AS SELECT id, {columns}, geom::geometry(MultiPolygon, {grid}) AS geom FROM {table}"
            " WHERE {rule} ORDER BY id",
            "ALTER TABLE {native} ADD PRIMARY KEY (id)",
            "CREATE INDEX ON {native} USING gist (geom)",
            "VACUUM ANALYZE {native}",
        ):
            connection.execute(sql.SQL(statement).format(**names))  # type: ignore[arg-type]


def python_with_tipg(folder: Path) -> str | None:
    """The Python of a new environment with tipg in it; None where pip cannot get it."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    wanted = ["tipg==1.6.1", "uvicorn[standard]"]
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", *wanted], capture_output=True
    )
    return python if done.returncode == 0 else None


@contextmanager
def tipg(url: str, python: str | None, workers: int) -> Iterator[Contender | None]:
    """tipg with the features it may give raised to ours."""
    if python is None:
        yield None
        return
    told = conninfo_to_dict(url)
    login = quote(str(told.get("user", ""))) + (f":{quote(str(told['password']))}" if told.get("password") else "")
    place = f"{quote(str(told['host']), safe='')}:{told.get('port', 5432)}"
    environment = {
        "DATABASE_URL": f"postgresql://{login}@{place}/{told['dbname']}", "TIPG_DB_SCHEMAS": '["bench"]',
        "TIPG_MAX_FEATURES_PER_QUERY": "10000", "PYTHONPATH": "",
    }  # fmt: skip
    with uvicorn("tipg.main:app", environment, workers, python=python) as (port, process):
        prefix, tile = f"/collections/bench.{VIEW}", "/tiles/WebMercatorQuad/{z}/{x}/{y}"
        address = ogc(prefix, form="f=geojson", filters=f"{FILTER}&filter-lang=cql2-text", tile=tile)
        yield Contender("tipg", port, address, [process.pid], prefix)


@contextmanager
def mapserver(url: str, folder: Path, workers: int) -> Iterator[Contender | None]:
    """MapServer's OGC API as FastCGI processes behind nginx; None unless both are installed."""
    program, nginx = (shutil.which(name, path=_PATH) for name in ("mapserv", "nginx"))
    if program is None or nginx is None or not TEMPLATES.is_dir():
        yield None
        return
    connection = " ".join(f"{name}='{value}'" for name, value in conninfo_to_dict(url).items())
    with free() as port:
        told = {"port": port, "folder": folder, "connection": connection, "templates": TEMPLATES}
    user = "user root; " if os.geteuid() == 0 else ""
    for name, text in (("bench.map", _MAP), ("mapserver.conf", _CONFIG), ("nginx.conf", _NGINX)):
        (folder / name).write_text(text.format(**told, user=user), encoding="utf-8")
    with ExitStack() as stack:
        # FastCGI hands a process its listening socket as standard input; several may share it.
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        (folder / "mapserver.sock").unlink(missing_ok=True)
        listening.bind(str(folder / "mapserver.sock"))
        listening.listen(128)
        environment = {"MAPSERVER_CONFIG_FILE": str(folder / "mapserver.conf")}
        processes = [stack.enter_context(running([program], environment, listening)) for _ in range(workers)]
        command = [nginx, "-p", str(folder), "-e", str(folder / "nginx.err"), "-c", str(folder / "nginx.conf")]
        processes.append(stack.enter_context(running(command, {})))
        prefix = "/bench/ogcapi/collections/parcels"
        wait("MapServer", port, f"{prefix}?f=json", processes[-1])
        yield Contender("MapServer", port, ogc(prefix), [each.pid for each in processes], prefix)


@contextmanager
def featureserv(url: str, workers: int) -> Iterator[Contender | None]:
    """pg_featureserv where it is on the path; its one process uses as many cores as there are workers elsewhere."""
    program = shutil.which("pg_featureserv")
    if program is None:
        yield None
        return
    with free() as port:
        pass
    environment = {
        "DATABASE_URL": url, "GOMAXPROCS": str(workers), "PGFS_SERVER_HTTPHOST": "127.0.0.1",
        "PGFS_SERVER_HTTPPORT": str(port), "PGFS_PAGING_LIMITMAX": "10000", "PGFS_DATABASE_TABLEINCLUDES": "bench",
    }  # fmt: skip
    with running([program], environment) as process:
        wait("pg_featureserv", port, "/conformance.json", process)
        prefix = f"/collections/bench.{VIEW}"
        address = ogc(prefix, form="", filters=FILTER, native=f"_native/items?crs={GRID}")
        yield Contender("pg_featureserv", port, address, [process.pid], prefix)


@contextmanager
def tileserv(url: str, workers: int) -> Iterator[Contender | None]:
    """pg_tileserv where it is on the path."""
    program = shutil.which("pg_tileserv")
    if program is None:
        yield None
        return
    with free() as port:
        pass
    environment = {
        "DATABASE_URL": url, "GOMAXPROCS": str(workers), "TS_HTTPHOST": "127.0.0.1", "TS_HTTPPORT": str(port),
        "TS_MAXFEATURESPERTILE": "1000000",
    }  # fmt: skip

    def address(case: Case, asked: dict[str, object]) -> str | None:
        return "/bench.{0}/{z}/{x}/{y}.pbf".format(VIEW, **asked) if case.kind == "tile" else None

    with running([program], environment) as process:
        wait("pg_tileserv", port, "/index.json", process)
        yield Contender("pg_tileserv", port, address, [process.pid])
