"""Access tokens: gettoken with its bans, and whom a token belongs to (path/91039, path/90313).

A token lives by the simulator's own clock. Secrets and tokens must never reach a log, nor any answer but gettoken's.
"""

from __future__ import annotations

import hmac
import math
import secrets

from tagwarden.simulator import errcodes
from tagwarden.simulator.call import App, Json
from tagwarden.simulator.model import Refused
from tagwarden.simulator.store import Store

_HOUR = 3600


def get_token(store: Store, corp_id: str | None, secret: str | None, ip: str) -> tuple[str, Json]:
    """The app's name and WeCom's answer. Raises `Refused`; a wrong secret counts against the address."""
    if _is_banned(store, ip):
        raise Refused(errcodes.TOO_FREQUENT, "too many wrong secrets from this ip")
    if not corp_id:
        raise Refused(errcodes.CORPID_MISSING)
    if not secret:
        raise Refused(errcodes.SECRET_MISSING)
    if not store.row("SELECT 1 FROM corps WHERE corp_id = ?", corp_id):
        raise Refused(errcodes.BAD_CORPID)
    app = _app_with_secret(store, corp_id, secret)
    if app is None:
        _count_wrong_secret(store, ip)
        elsewhere = _belongs_elsewhere(store, corp_id, secret)
        raise Refused(store.switches.other_corps_secret_code if elsewhere else errcodes.WRONG_SECRET)
    token, expires = _issue(store, corp_id, app)
    return app, {"access_token": token, "expires_in": math.ceil(expires - store.now())}


def find_app(store: Store, token: str | None) -> tuple[App | None, int]:
    """Whose token this is, and the code it deserves: 0, or 41001, 40014, 42001. A dead one still has its app."""
    if not token:
        return None, errcodes.TOKEN_MISSING
    row = store.row(
        "SELECT a.*, t.expires, t.ended FROM tokens t JOIN apps a ON a.corp_id = t.corp_id AND a.name = t.app WHERE token = ?",
        token,
    )
    if row is None:
        return None, errcodes.BAD_TOKEN
    app = App(row["corp_id"], row["name"], row["kind"], row["agent_id"], bool(row["customer_contact"]))
    if row["ended"]:
        return app, errcodes.BAD_TOKEN
    return app, errcodes.OK if row["expires"] > store.now() else errcodes.TOKEN_EXPIRED


def drop_tokens(store: Store, corp_id: str, app: str | None = None) -> None:
    """End tokens before their time, which WeCom reserves the right to do; they then answer 40014."""
    if app is None:
        store.run("UPDATE tokens SET ended = 1 WHERE corp_id = ?", corp_id)
    else:
        store.run("UPDATE tokens SET ended = 1 WHERE corp_id = ? AND app = ?", corp_id, app)


def lift_bans(store: Store) -> None:
    """Forget every wrong secret and every banned address."""
    store.run("DELETE FROM bans")
    store.run("DELETE FROM wrong_secrets")


def _app_with_secret(store: Store, corp_id: str, secret: str) -> str | None:
    for row in store.rows("SELECT name, secret FROM apps WHERE corp_id = ?", corp_id):
        if hmac.compare_digest(str(row["secret"]).encode(), secret.encode()):
            return str(row["name"])
    return None


def _belongs_elsewhere(store: Store, corp_id: str, secret: str) -> bool:
    return store.row("SELECT 1 FROM apps WHERE secret = ? AND corp_id <> ?", secret, corp_id) is not None


def _issue(store: Store, corp_id: str, app: str) -> tuple[str, float]:
    now = store.now()
    current = store.row(
        "SELECT token, expires FROM tokens WHERE corp_id = ? AND app = ? AND expires > ? AND NOT ended "
        "ORDER BY expires DESC",
        corp_id, app, now,
    )  # fmt: skip
    if current and store.switches.gettoken_repeats_token:
        return current["token"], current["expires"]
    with store.transaction():
        if store.switches.new_token_ends_old:
            drop_tokens(store, corp_id, app)
        token, expires = secrets.token_urlsafe(96), now + store.switches.token_seconds
        store.run("INSERT INTO tokens (token, corp_id, app, expires) VALUES (?, ?, ?, ?)", token, corp_id, app, expires)
    return token, expires


def _is_banned(store: Store, ip: str) -> bool:
    row = store.row("SELECT until FROM bans WHERE ip = ?", ip)
    return row is not None and row["until"] > store.now()


def _count_wrong_secret(store: Store, ip: str) -> None:
    """The n-th wrong secret within an hour bans the address for an hour; 0 switches this off."""
    now, most = store.now(), store.switches.wrong_secrets_per_hour
    with store.transaction():
        store.run("INSERT INTO wrong_secrets VALUES (?, ?)", ip, now)
        seen = store.count("SELECT count(*) FROM wrong_secrets WHERE ip = ? AND at > ?", ip, now - _HOUR)
        if most and seen >= most:
            store.run("INSERT OR REPLACE INTO bans VALUES (?, ?)", ip, now + _HOUR)
            store.run("DELETE FROM wrong_secrets WHERE ip = ?", ip)
