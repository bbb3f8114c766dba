"""A corp's WeCom credentials, one set per app, sealed in the database.

Never logs, prints or puts a secret into an error; `AppCredential` hides them from `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tagwarden.kernel import db
from tagwarden.kernel.clock import now
from tagwarden.kernel.errors import Conflict
from tagwarden.kernel.sealing import Sealer

CUSTOMER_APP = "crm"
CONTACTS_APP = "contacts"


class CredentialMissing(Conflict):
    code = "credential_missing"
    zh = "企业 {corp_id} 没有应用 {app} 的企业微信凭据"
    en = "Corp {corp_id} has no WeCom credential for app {app}"


@dataclass(frozen=True, slots=True)
class AppCredential:
    """`stopped_reason` is set while WeCom refused the secret: nobody calls until an operator changes it."""

    corp_id: str
    app: str
    agent_id: int | None
    secret: str = field(repr=False)
    token: str | None = field(repr=False, default=None)
    aes_key: str | None = field(repr=False, default=None)
    stopped_reason: str | None = None


def _purpose(corp_id: str, app: str, name: str) -> str:
    return f"{corp_id}/{app}/{name}"


async def load(sealer: Sealer, corp_id: str, app: str) -> AppCredential:
    """The credential of one app, or CredentialMissing."""
    row = await db.fetch_one("select * from corp_credential where corp_id = $1 and app = $2", corp_id, app)
    if row is None:
        raise CredentialMissing(corp_id=corp_id, app=app)

    def opened(name: str) -> str | None:
        sealed = row[f"{name}_sealed"]
        return sealer.open(sealed, _purpose(corp_id, app, name)) if sealed else None

    return AppCredential(
        corp_id, app, row["agent_id"], opened("secret") or "", opened("token"), opened("aes_key"), row["stopped_reason"]
    )


async def store(sealer: Sealer, credential: AppCredential) -> None:
    """Writes a credential whole and lifts a stop; runs in the caller's transaction."""

    def sealed(name: str, value: str | None) -> bytes | None:
        return sealer.seal(value, _purpose(credential.corp_id, credential.app, name)) if value else None

    await db.execute(
        "insert into corp_credential (corp_id, app, agent_id, secret_sealed, token_sealed, aes_key_sealed, updated_at)"
        " values ($1, $2, $3, $4, $5, $6, $7) on conflict (corp_id, app) do update set agent_id = excluded.agent_id,"
        " secret_sealed = excluded.secret_sealed, token_sealed = excluded.token_sealed,"
        " aes_key_sealed = excluded.aes_key_sealed, updated_at = excluded.updated_at, stopped_at = null,"
        " stopped_reason = null",
        credential.corp_id,
        credential.app,
        credential.agent_id,
        sealed("secret", credential.secret),
        sealed("token", credential.token),
        sealed("aes_key", credential.aes_key),
        now(),
    )


async def drop_token(corp_id: str, app: str) -> None:
    """Forgets the access token that an earlier secret earned; its generation stays, so that none is ever given twice."""
    await db.execute(
        "update wecom_token set token_sealed = '', expires_at = '-infinity' where corp_id = $1 and app = $2", corp_id, app
    )


async def stop(sealer: Sealer, refused: AppCredential, reason: str) -> bool:
    """Records that WeCom refused this credential, unless another took its place; calls stay refused until `store`."""
    async with db.transaction():
        # Looked at under its lock: one being replaced this moment would else be stopped in the old one's stead.
        await db.execute("select 1 from corp_credential where corp_id = $1 and app = $2 for update", refused.corp_id, refused.app)
        current = await load(sealer, refused.corp_id, refused.app)
        if current.secret != refused.secret:
            return False
        await db.execute(
            "update corp_credential set stopped_at = $3, stopped_reason = $4 where corp_id = $1 and app = $2",
            refused.corp_id,
            refused.app,
            now(),
            reason,
        )
    return True
