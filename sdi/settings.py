"""Settings from the environment, read once at the edge (cli, service factory) and handed down as a value."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sdi.errors import SettingError

ROOT = Path(__file__).resolve().parents[1]
Listed = Annotated[tuple[str, ...], NoDecode]
"""Written with commas between."""


class Settings(BaseSettings):
    """Each field is the environment variable `SDI_<NAME>`.

    A file named in `SDI_<NAME>_FILE` (Docker secrets) also serves.
    """

    model_config = SettingsConfigDict(env_prefix="SDI_", frozen=True, use_attribute_docstrings=True)

    database_url: SecretStr | None = None
    """`postgresql://…` of an owner of the database; None: the embedded cluster."""
    service_url: SecretStr | None = None
    """`postgresql://…` of the login that `sdi serve` connects with, which `sdi db migrate` makes: it reads, registers
    and records, and owns nothing. None: `database_url`."""
    layers: Path = ROOT / "layers"
    """Folder of the contracts."""
    data: Path = ROOT / ".sdi"
    """Folder of the embedded cluster, the coverages and the delivered files."""
    grid: int = 5897
    """EPSG code of the deployment's VN-2000 grid: Hà Nội and Cần Thơ 5897, TP.HCM 9210, Đà Nẵng 5899."""
    extent: tuple[float, float, float, float] | None = None
    """`[west, south, east, north]` in degrees, where every delivery must lie; None: see the layer with `frame`."""
    url: str = "http://127.0.0.1:8000"
    """The public address; every link begins with it. Not set: where `sdi serve` listens."""
    title_vi: str = "Hạ tầng dữ liệu không gian đô thị"
    title_en: str = "Urban spatial data infrastructure"
    contact: str = ""
    """E-mail of the operating agency, shown in the service's metadata."""
    basemap: str | None = None
    """Tile URL template of a compliant basemap; None: the maps show the layers alone."""
    basemap_attribution: str = ""
    pool_size: int = Field(8, ge=1)
    """Connections a worker process holds at most."""
    statement_timeout: float = Field(20.0, gt=0)
    """Seconds after which a query of the service is cancelled."""
    slow_share: float = Field(0.05, gt=0, le=1)
    """Seconds a second of slow queries that the workers of a machine give one caller, after a burst of 30, while others
    are served; 1: as many as its places allow."""
    kept_text: int = Field(16, ge=0)
    """Megabytes of rendered features that a worker process keeps; 0: every answer is rendered anew."""
    ready_text: int = Field(4096, ge=0)
    """Megabytes of disk, in `data`, for the features of open views, rendered once and shared by the workers of a
    machine; 0: none are."""
    kept_answers: int = Field(4, ge=0)
    """Megabytes of small answers that a worker process keeps; 0: each is put together anew."""
    audit: Literal["strict", "lenient", "off"] = "strict"
    """Whether reads of what is not open are recorded; strict: what cannot be recorded is not answered (503)."""
    audit_spool: int = Field(256, ge=1)
    """Megabytes of entries that a worker process keeps in `data` while the database is away."""
    default_limit: int = Field(1000, ge=1)
    max_limit: int = Field(10_000, ge=1)
    trusted_proxies: Listed = ()
    """Addresses and networks whose `X-Forwarded-For` is believed; of everybody else it is what anyone may write."""
    webhook_hosts: Listed = ()
    """Host names, and networks of addresses, that webhooks may call; none: nobody is called."""
    webhook_http: bool = False
    """Whether webhooks may call without TLS, for a gateway on the same machine."""
    rate_public: float = Field(0.0, ge=0)
    """Requests a second that the workers of a machine answer an address of the public; 0: as many as come."""
    rate_agency: float = Field(0.0, ge=0)
    """The same for an agency that shows its key, whatever its addresses."""
    burst: int = Field(200, ge=1)
    """Requests that may come at once before the rate is felt."""
    quota: int = Field(0, ge=0)
    """Megabytes a day (UTC) that the workers of a machine send one caller; 0: any number."""
    origins: Listed = ("*",)
    """Other sites whose scripts may read the answers (CORS): `https://map.example.vn,…`. `*`: every site, without a
    key; named ones may send a key that they were given. A browser's own credentials go to none."""
    hsts: int = Field(0, ge=0)
    """Seconds for which browsers are to come by HTTPS only (Strict-Transport-Security); 0: not said."""
    oidc_issuer: str | None = None
    """The OpenID Connect issuer whose tokens are taken: `https://sso.example.vn/realms/city`, as its tokens name it in
    `iss`. None: no tokens are."""
    oidc_audience: str | None = Field(None, validate_default=True)
    """What a token must name in `aud`: this service, as the issuer knows it."""
    oidc_jwks: str | None = None
    """Address of the issuer's keys; None: as its configuration says, on its own host."""
    oidc_claim: str = "agency"
    """The claim that names the agency, a text or a list: `agency`, `groups`, `realm_access.roles`."""
    oidc_agencies: dict[str, str] = {}
    """The agency for each of the claim's values: `{"/land-office": "so_nnmt"}`. Empty: the value is the agency's id."""
    oidc_leeway: float = Field(30.0, ge=0, le=600)
    """Seconds by which the issuer's clock may be off."""
    oidc_algorithms: Listed = ("RS256", "PS256", "ES256", "EdDSA")
    """How tokens may be signed; only what needs a private key."""
    read_timeout: float = Field(900.0, gt=0)
    """Seconds that reading one delivery may take."""
    read_memory: int = Field(8 * 1024**3, ge=2**28)
    """Bytes of address space of the process that reads a delivery."""

    @field_validator("trusted_proxies", "origins", "webhook_hosts", "oidc_algorithms", mode="before")
    @classmethod
    def _parted(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ip_network(each, strict=False)
        return value

    @field_validator("oidc_issuer", "oidc_jwks")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        """Keys that came over an open line could be anybody's."""
        parts = urlsplit(value or "https://nowhere")
        near = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not (parts.hostname and (parts.scheme == "https" or near)):
            raise ValueError("an https address, or http on this machine")
        return value or None

    @field_validator("oidc_audience")
    @classmethod
    def _meant(cls, value: str | None, others: ValidationInfo) -> str | None:
        if others.data.get("oidc_issuer") and not value:
            raise ValueError("with an issuer, say whom its tokens must be made for")
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(re.fullmatch(r"(RS|PS|ES)(256|384|512)|EdDSA", each) for each in value):
            raise ValueError("RS256, PS256, ES256 (or 384, 512), EdDSA, with commas between")
        return value

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Every site, or named ones; both at once would let a key be sent from anywhere."""
        if value != ("*",) and not all(re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", each) for each in value):
            raise ValueError("either *, or origins such as https://map.example.vn with commas between")
        return value


def read_settings() -> Settings:
    """Read the environment. Raises SettingError naming each wrong variable."""
    secrets: dict[str, Any] = {}
    for name in Settings.model_fields:
        file = os.environ.get(f"SDI_{name.upper()}_FILE")
        if file:
            try:
                secrets[name] = Path(file).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingError(f"SDI_{name.upper()}_FILE names a file that cannot be read: {file}") from error
    try:
        return Settings(**secrets)
    except ValidationError as errors:
        faults = [f"SDI_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in errors.errors()]
        raise SettingError("\n".join(faults), hint="Correct or unset these environment variables.") from None
