"""docker-compose.yml without Docker: what the containers run, hold and may do."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from sdi.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / ".ci" / "Dockerfile").read_text(encoding="utf-8")


# --- what they run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, service in OURS.items() if "command" in service])
def test_the_command_of_the_container_is_one_that_sdi_knows(name: str) -> None:
    """With --help every option is read, and an unknown one refused, before anything is done."""
    assert 'ENTRYPOINT ["sdi"]' in DOCKERFILE
    done = sdi(*OURS[name]["command"], "--help")
    assert done.returncode == 0, done.stderr
    assert sdi(*OURS[name]["command"], "--no-such-option", "--help").returncode == 2


def sdi(*words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from sdi.cli import main; sys.argv[0] = 'sdi'; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_of_the_service_tells_well_from_ill(status: int, healthy: bool) -> None:
    asked = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    kind, program, option, code = SERVICES["service"]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = option_of(SERVICES["service"]["command"], "--port")
        assert f":{port}/" in code
        done = subprocess.run(
            [sys.executable, "-c", code.replace(f":{port}/", f":{server.server_port}/")],
            capture_output=True,
            check=False,
        )
        server.shutdown()
    assert asked == ["/health"]
    assert (done.returncode == 0) is healthy


def option_of(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_the_health_check_of_the_database_is_one_that_pg_isready_knows() -> None:
    words = SERVICES["postgis"]["healthcheck"]["test"][1:]
    program = shutil.which(words[0])
    if program is None:
        pytest.skip("pg_isready is not on PATH")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = str(nobody.getsockname()[1])
        done = subprocess.run([program, *words[1:], "-p", port], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr  # 2: asked and not answered; 3: asked wrongly


def test_every_setting_of_the_database_is_one_that_postgresql_knows(server_url: str) -> None:
    words = SERVICES["postgis"]["command"]
    assert words[0] == "postgres"
    settings = [word.split("=")[0] for word in words if "=" in word]
    assert settings
    with psycopg.connect(server_url) as connection:
        known = connection.execute("SELECT name FROM pg_settings WHERE name = ANY(%s)", [settings]).fetchall()
    assert sorted(name for (name,) in known) == sorted(settings)


def test_every_variable_of_the_service_is_a_setting() -> None:
    known = {f"SDI_{name.upper()}" for name in Settings.model_fields}
    given = {name for service in OURS.values() for name in service.get("environment", {})}
    given |= set(re.findall(r"\b(SDI_[A-Z_]+)=", DOCKERFILE))
    assert given
    assert {name for name in given if name.removesuffix("_FILE") not in known} == set()


# --- what they are made of ----------------------------------------------------------------------------------------


def test_every_image_is_of_a_named_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) > 5
    assert [image for image in images if not re.search(r":\d+[.-]\d+", image)] == []


def test_the_image_installs_by_hash_and_runs_as_nobody_in_particular() -> None:
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users
    assert users[-1] not in {"root", "0"}
    assert DOCKERFILE.rindex("\nUSER ") > DOCKERFILE.rindex("\nRUN ")


def test_everything_the_image_is_made_of_is_here_and_is_sent_to_the_build() -> None:
    copied = [
        name.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in line.split()
    ]
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(sent)
    assert [name for name in copied if not (ROOT / name).exists()] == []


# --- what they may do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_may_write_nothing_but_their_data(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert [volume.split(":")[1] for volume in service["volumes"]] == [re.findall(r"SDI_DATA=(\S+)", DOCKERFILE)[0]]


def test_only_the_proxy_can_be_reached_and_the_database_by_no_proxy() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert "back" not in SERVICES["proxy"]["networks"]
    assert SERVICES["postgis"]["networks"] == ["back"]


def test_everything_that_stays_up_is_watched_and_comes_back() -> None:
    lasting = {name for name, service in SERVICES.items() if service.get("restart") == "unless-stopped"}
    assert lasting == {"postgis", "service", "proxy"}
    assert {name for name in lasting if "healthcheck" not in SERVICES[name]} == set()


def test_every_name_that_is_used_is_declared() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"]), name
        assert {config["source"] for config in service.get("configs", [])} <= set(COMPOSE["configs"]), name


def test_compose_itself_accepts_the_file() -> None:
    """Needs Docker's client with its compose plugin; no engine."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not on this machine")
    done = subprocess.run(
        [docker, "compose", "-f", "docker-compose.yml", "config", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- secrets ------------------------------------------------------------------------------------------------------


def test_no_password_stands_in_the_file() -> None:
    files = {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert all(file.startswith(".secrets/") for file in files)
    assert "/.secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    words = [f"{key}={value}" for service in SERVICES.values() for key, value in service.get("environment", {}).items()]
    assert [word for word in words if re.search(r"PASSWORD=|postgresql://", word)] == []


def test_make_secrets_makes_the_files_once_and_they_agree(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    script = Path(shutil.copy(ROOT / ".ci" / "secrets.sh", tmp_path / ".ci"))
    subprocess.run([script], check=True, capture_output=True)
    made = {name: tmp_path / secret["file"] for name, secret in COMPOSE["secrets"].items()}
    password, url = made["postgres_password"].read_text(), urlsplit(made["database_url"].read_text())
    own = urlsplit(made["service_url"].read_text())
    environment = SERVICES["postgis"]["environment"]
    assert len(password) >= 32
    assert url.password == password
    assert (url.hostname, url.username, url.path) == (
        "postgis",
        environment["POSTGRES_USER"],
        f"/{environment['POSTGRES_DB']}",
    )
    assert (own.hostname, own.path) == (url.hostname, url.path)
    assert own.username != url.username
    assert own.password not in (None, url.password)
    # Compose mounts the files as they are, and the containers run as other users; nobody else gets at the folder.
    assert {path.stat().st_mode & 0o777 for path in made.values()} == {0o444}
    assert (tmp_path / ".secrets").stat().st_mode & 0o077 == 0
    made["service_url"].unlink()  # as a deployment of an older version has it
    subprocess.run([script], check=True, capture_output=True)
    assert made["postgres_password"].read_text() == password
    assert made["service_url"].exists()


def test_the_service_has_a_login_of_its_own_and_never_the_owners() -> None:
    service, migrate = SERVICES["service"], SERVICES["migrate"]
    assert service["secrets"] == ["service_url"]
    assert [name for name in service["environment"] if "URL_FILE" in name] == ["SDI_SERVICE_URL_FILE"]
    assert sorted(migrate["secrets"]) == ["database_url", "service_url"]
    assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


# --- the proxy ----------------------------------------------------------------------------------------------------


def test_the_proxy_keeps_nothing_that_was_shown_to_an_agency_and_nothing_stale() -> None:
    content = COMPOSE["configs"]["nginx"]["content"]
    shown = r"\$\$http_authorization \$\$http_x_api_key \$\$arg_key;"
    assert re.search(rf"proxy_no_cache {shown}", content)
    assert re.search(rf"proxy_cache_bypass {shown}", content)
    # A key may stand in an address.
    assert "$$request_uri" not in content.partition("log_format")[2].partition(";")[0]
    assert not re.search(r"log_format[^;]*\$\$(request|args|query_string|http_referer)\b", content)
    assert "proxy_cache_revalidate on;" in content
    assert "use_stale" not in content
    assert "proxy_cache_valid" not in content


def configured(folder: Path, listen: str, port: int = 8000) -> list[str]:
    """The command that runs nginx as the file has it, before a service on that port of this machine."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not on this machine")
    server = COMPOSE["configs"]["nginx"]["content"].replace("$$", "$")
    places = {"server service:8000": f"server 127.0.0.1:{port}", "/tmp/cache": f"{folder}/cache",
              "listen 8080": f"listen {listen}", "/var/log/nginx/access.log": f"{folder}/access"}  # fmt: skip
    for there, here in places.items():
        assert there in server
        server = server.replace(there, here)
    main = f"pid {folder}/pid; error_log {folder}/log; events {{}} http {{ access_log off;\n{server}\n}}"
    (folder / "nginx.conf").write_text(main)
    return [nginx, "-c", str(folder / "nginx.conf")]


def test_nginx_itself_accepts_the_configuration(tmp_path: Path) -> None:
    command = [*configured(tmp_path, f"unix:{tmp_path}/s"), "-t"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_service_is_told_a_host_by_whoever_names_none(tmp_path: Path) -> None:
    """Health checks speak HTTP 1.0 without Host; passed on by HTTP 1.1 that would be a 400 (RFC 9112, 3.2)."""
    hosts: list[str | None] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(self.headers["Host"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Service) as behind:
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        command = configured(tmp_path, f"unix:{tmp_path}/s", behind.server_port)
        running = subprocess.Popen([*command, "-g", "daemon off; master_process off;"], stderr=subprocess.DEVNULL)
        try:
            while running.poll() is None and not (tmp_path / "pid").exists():
                time.sleep(0.05)
            for sent in ("HTTP/1.0\r\n", "HTTP/1.1\r\nHost: city.example:8443\r\nConnection: close\r\n"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"{tmp_path}/s")
                    client.sendall(f"GET /health {sent}\r\n".encode())
                    assert client.recv(100).startswith(b"HTTP/1.1 200")
        finally:
            running.terminate()
            running.wait()
            behind.shutdown()
    assert hosts == ["localhost", "city.example:8443"]
