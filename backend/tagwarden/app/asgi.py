"""The HTTP service: opens the database as the application role, refuses to start as owner or with pending migrations."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import ASGIMiddleware

from tagwarden.app import auth, openapi, wiring
from tagwarden.app.health import HealthController
from tagwarden.app.lean import LeanResponse
from tagwarden.app.limits import InboundLimits
from tagwarden.app.metrics import Metrics, metrics
from tagwarden.app.observed import NamedInLogs, note_refusal
from tagwarden.app.problems import HANDLERS
from tagwarden.identity.tokens import Issuer, TokenVerifier
from tagwarden.kernel import db, migrations
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.sealing import Sealer
from tagwarden.kernel.settings import Settings
from tagwarden.wecom.budget import Budget
from tagwarden.wecom.controllers import CallbackController

log = structlog.get_logger(__name__)


class OwnerRefused(Conflict):
    code = "owner_role_refused"
    zh = "服务不能以数据库属主角色启动，请在 TAGWARDEN_DATABASE_URL 中使用应用角色"
    en = "The service does not start as the owner role; put the application's role into TAGWARDEN_DATABASE_URL"


class MigrationsPending(Conflict):
    code = "migrations_pending"
    zh = "数据库结构不是最新版本（{steps}），请先运行 tagwarden db upgrade"
    en = "The database is not up to date ({steps}); run `tagwarden db upgrade` first"


def verifier_of(settings: Settings) -> TokenVerifier:
    """A verifier for the issuers of the settings."""
    return TokenVerifier(
        [
            Issuer(
                one.issuer,
                one.audience,
                one.algorithm,
                one.verify_key.get_secret_value() if one.verify_key else None,
                one.sign_key.get_secret_value() if one.sign_key else None,
                str(one.jwks_url) if one.jwks_url else None,
            )
            for one in settings.issuers
        ]
    )


def sealer_of(settings: Settings) -> Sealer:
    """The sealer of stored credentials; ValueError without a secret key."""
    if settings.secret_key is None:
        raise ValueError("TAGWARDEN_SECRET_KEY is not set")
    return Sealer(settings.secret_key.get_secret_value())


async def is_owner() -> bool:
    """Whether the role we are connected as owns the tables, and so could switch their guards off."""
    return bool(
        await db.fetch_value(
            "select pg_has_role(current_user, c.relowner, 'member') as owner from pg_class c"
            " where c.oid = to_regclass('public.audit_line')"
        )
    )


async def require_serviceable() -> None:
    """Raises unless we are the application's role on an up-to-date database."""
    if await is_owner():
        raise OwnerRefused()
    if steps := await migrations.pending():
        raise MigrationsPending(steps=", ".join(steps))


def _middleware(settings: Settings) -> list[ASGIMiddleware]:
    """Who calls, under which name in the logs, and how often."""
    limits = [InboundLimits(settings.requests_per_minute)] if settings.requests_per_minute else []
    return [auth.Authentication(verifier_of(settings)), NamedInLogs(), *limits]


def create_app(settings: Settings, *, opens_database: bool = True) -> Litestar:
    """The application; `opens_database` false where the process has opened it already (the demo)."""
    wiring.wire()

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if opens_database and settings.database_url is not None:
            await db.DB.open(settings.database_url.get_secret_value(), size=settings.database_connections)
            await require_serviceable()
        try:
            yield
        finally:
            if opens_database:
                await db.DB.close()

    return Litestar(
        route_handlers=[*wiring.CONTROLLERS, CallbackController, HealthController, metrics],
        middleware=_middleware(settings),
        dependencies={
            "picture": Provide(auth.provide_picture),
            "caller": Provide(auth.provide_caller),
            "language": Provide(auth.provide_language, sync_to_thread=False),
            "asking": Provide(auth.provide_asking),
        },
        response_class=LeanResponse,
        exception_handlers=HANDLERS,
        after_exception=[note_refusal],
        before_send=[auth.tell_epoch],
        lifespan=[lifespan],
        state=State(
            {
                "budget": Budget(settings.wecom_calls_per_minute),
                "sealer": sealer_of(settings),
                "issuers": frozenset(one.issuer for one in settings.issuers),
                "reconcile_calls": settings.reconcile_calls,
                "establish_anew": auth.establish_anew,
                "metrics": Metrics(settings.wecom_calls_per_minute),
            }
        ),
        openapi_config=openapi.config(version("tagwarden")),
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )
