"""Settings from the environment, prefix `TAGWARDEN_`, validated at start; secrets never show in a repr.

Without `DATABASE_URL` the embedded PostgreSQL in `DATA_DIR` serves. `deploy/env.example` lists every field.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, HttpUrl, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tagwarden.kernel.errors import Invalid

LOCAL_ISSUER = "tagwarden"
CARD_ISSUER = "wecom-card"
"""Who vouches for a click on a card: WeCom, by its signed callback. Bound to a corp like any issuer, and never one of tokens."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class SettingsInvalid(Invalid):
    code = "settings_invalid"
    zh = "配置有误：{why}"
    en = "The settings are not valid: {why}"


class IssuerSetting(BaseModel):
    """Keys of an issuer of tokens; what it may do in a corp stands in the database."""

    issuer: str
    audience: str = "tagwarden"
    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA"]
    verify_key: SecretStr | None = None
    sign_key: SecretStr | None = None
    jwks_url: HttpUrl | None = None

    @field_validator("verify_key")
    @classmethod
    def _key_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("a key has at least 32 characters")
        return value

    @field_validator("issuer")
    @classmethod
    def _not_the_cards(cls, value: str) -> str:
        if value == CARD_ISSUER:
            raise ValueError(f"the name {CARD_ISSUER} belongs to clicks on WeCom's cards")
        return value

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if (self.verify_key is None) == (self.jwks_url is None):
            raise ValueError("an issuer has either verify_key or jwks_url")
        if self.jwks_url is not None and self.algorithm.startswith("HS"):
            raise ValueError("published keys are public: choose an asymmetric algorithm")
        if self.jwks_url is not None and self.jwks_url.scheme != "https" and self.jwks_url.host not in LOOPBACK:
            raise ValueError("jwks_url is https")
        return self


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(env_prefix="TAGWARDEN_", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(None, description="PostgreSQL, as the application role. Unset: embedded.")
    migration_database_url: SecretStr | None = Field(
        None, description="PostgreSQL, as the owner role; for `db upgrade` and `corp add` only."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis for wake-ups, inbound limits, live progress and the sealed token; needed once two processes serve.",
    )
    data_dir: Path = Field(Path(".tagwarden"), description="Folder of the embedded PostgreSQL and its secrets.")
    secret_key: SecretStr | None = Field(
        None, description="Seals stored credentials; at least 32 characters. Embedded: made and kept in DATA_DIR."
    )
    issuers: Annotated[list[IssuerSetting], NoDecode] = Field(
        [], description="JSON list of token issuers: issuer, audience, algorithm, and verify_key or jwks_url."
    )
    host: str = Field("127.0.0.1", description="Address that `serve` listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that `serve` listens on.")
    database_connections: int = Field(10, ge=2, le=100, description="Size of each process's connection pool.")
    wecom_api_base: str = Field("https://qyapi.weixin.qq.com", description="WeCom's API, or a simulator.")
    wecom_calls_per_minute: int = Field(60, ge=1, le=10_000, description="Budget per corp: calls in any rolling 60 seconds.")
    reconcile_hour: int = Field(
        2, ge=0, le=23, description="Hour, by each corp's own clock, from which a slice of all customers is read again at night."
    )
    reconcile_calls: int = Field(
        3_000,
        ge=0,
        le=100_000,
        description="WeCom calls of one night's slice, about 100 follows each; 0 reads nothing at night.",
    )
    public_url: HttpUrl | None = Field(
        None, description="Where people reach the pages of requests: cards link to PUBLIC_URL/approvals/<id>. Unset: no link."
    )
    requests_per_minute: int = Field(
        1_200, ge=0, description="Inbound limit per person and minute, over all serving processes; 0 for none."
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024, description="Largest request body.")
    audit_heads_file: Path | None = Field(
        None, description="File that signed audit heads are appended to, outside the database. Embedded: one in DATA_DIR."
    )
    audit_heads_url: SecretStr | None = Field(
        None, description="Web hook that signed audit heads are posted to, as JSON; https, or this machine."
    )
    otlp_endpoint: str | None = Field(
        None, description="OpenTelemetry collector for traces (OTLP over HTTP); needs the extra tagwarden[otel]. Unset: none."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="How log lines look.")

    @field_validator("issuers", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("TAGWARDEN_SECRET_KEY has at least 32 characters")
        return value

    @field_validator("audit_heads_url")
    @classmethod
    def _not_in_the_open(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value()) if value else None
        if parts is not None and parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("TAGWARDEN_AUDIT_HEADS_URL is https")
        return value

    @property
    def embedded(self) -> bool:
        """Whether the database is our own child."""
        return self.database_url is None


def load(**overrides: Any) -> Settings:
    """Settings from the environment with overrides; embedded ones get their local keys from the data folder."""
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except (ValidationError, ValueError) as error:
        raise SettingsInvalid(why=_plain(error)) from None
    return settings


def with_local_keys(settings: Settings) -> Settings:
    """Fills the secret key and the local issuer of an embedded installation from `DATA_DIR/keys.json` (made once, 0600)."""
    path = settings.data_dir / "keys.json"
    if not path.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        fresh = {"secret_key": secrets.token_urlsafe(48), "token_key": secrets.token_urlsafe(48)}
        partial = path.with_suffix(".part")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(fresh), encoding="utf-8")
        partial.replace(path)
    try:
        keys = json.loads(path.read_text(encoding="utf-8"))
        secret_key, token_key = str(keys["secret_key"]), str(keys["token_key"])
    except (ValueError, KeyError, TypeError):
        raise SettingsInvalid(why=f"{path.name} in DATA_DIR is damaged") from None
    local = IssuerSetting(issuer=LOCAL_ISSUER, algorithm="HS256", verify_key=SecretStr(token_key), sign_key=SecretStr(token_key))
    others = [issuer for issuer in settings.issuers if issuer.issuer != LOCAL_ISSUER]
    return settings.model_copy(update={"secret_key": settings.secret_key or SecretStr(secret_key), "issuers": [local, *others]})


def _plain(error: Exception) -> str:
    """What is wrong and where, without the value: it may be a secret."""
    if isinstance(error, ValidationError):
        return "; ".join(f"TAGWARDEN_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
    return "a value is not valid JSON"
