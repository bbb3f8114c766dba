"""How a process finds its database and identity: from settings, or from the data folder of an embedded installation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from tagwarden.app import wiring
from tagwarden.app.asgi import verifier_of
from tagwarden.app.auth import as_here, require_established
from tagwarden.corps.model import Caller, CorpUnknown
from tagwarden.identity.model import TokenRefused
from tagwarden.kernel import db, migrations, settings
from tagwarden.kernel.embedded import EmbeddedUrls, running_urls
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.ids import new_id
from tagwarden.kernel.redis import RELAY
from tagwarden.kernel.settings import Settings
from tagwarden.policy import service as policy

EMBEDDED_ROLE = "tagwarden_app"


class NothingRuns(Conflict):
    code = "nothing_runs"
    zh = "数据目录 {folder} 没有正在运行的实例；请先启动 tagwarden demo/serve，或设置 TAGWARDEN_DATABASE_URL"
    en = "Nothing runs on {folder}; start `tagwarden demo` or `serve` first, or set TAGWARDEN_DATABASE_URL"


class OwnerUrlMissing(Conflict):
    code = "owner_url_missing"
    zh = "该操作需要属主角色，请设置 TAGWARDEN_MIGRATION_DATABASE_URL"
    en = "This needs the owner role; set TAGWARDEN_MIGRATION_DATABASE_URL"


def resolve(data_dir: Path | None = None) -> Settings:
    """Settings with a database: the configured one, or the embedded one that runs on the data folder."""
    found = settings.load(data_dir=data_dir)
    if not found.embedded:
        return found
    urls = running_urls(found.data_dir)
    if urls is None:
        raise NothingRuns(folder=found.data_dir)
    return with_embedded(found, urls)


def with_embedded(found: Settings, urls: EmbeddedUrls) -> Settings:
    """Settings of an embedded installation whose server runs at these URLs."""
    local = settings.with_local_keys(found)
    return local.model_copy(update={"database_url": SecretStr(urls.application), "migration_database_url": SecretStr(urls.owner)})


def application_role(found: Settings) -> str:
    """The role the service connects as."""
    url = found.database_url.get_secret_value() if found.database_url else ""
    return urlsplit(url).username or EMBEDDED_ROLE


@contextlib.asynccontextmanager
async def as_application(found: Settings, *, size: int = 4) -> AsyncIterator[None]:
    """The database as the application's role."""
    wiring.wire()
    await db.DB.open(found.database_url.get_secret_value() if found.database_url else "", size=size)
    RELAY.open(found.redis_url.get_secret_value() if found.redis_url else None)
    try:
        yield
    finally:
        policy.forget()
        await RELAY.close()
        await db.DB.close()


@contextlib.asynccontextmanager
async def as_owner(found: Settings) -> AsyncIterator[None]:
    """The database as the owner's role: `db upgrade`, `corp add`, `corp recover`, nothing else."""
    if found.migration_database_url is None:
        raise OwnerUrlMissing()
    await db.DB.open(found.migration_database_url.get_secret_value(), size=2)
    try:
        yield
    finally:
        await db.DB.close()


async def upgrade(found: Settings) -> list[str]:
    """Runs pending migrations as owner; returns the steps it ran."""
    async with as_owner(found):
        return await migrations.upgrade(application_role(found))


async def caller_of(found: Settings, token: str | None) -> Caller:
    """The identity of a command line's token: the same checks as over HTTP; TokenRefused otherwise."""
    given = token or os.environ.get("TAGWARDEN_TOKEN", "")
    claims = await verifier_of(found).established(given)
    try:
        picture = await policy.current(claims.corp_id)
    except CorpUnknown:
        raise TokenRefused() from None
    if claims.issuer not in picture.directory.issuers:
        raise TokenRefused()
    claims = as_here(picture, claims)
    require_established(picture, claims)
    may_sign = picture.directory.may_sign(claims.issuer)
    return Caller(claims.corp_id, claims.userid, claims.issuer, may_sign, claims.act, str(new_id()))
