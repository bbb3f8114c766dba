"""The access token of each (corp, app): sealed in PostgreSQL, copied to Redis, renewed by one process at a time.

PostgreSQL is true; the copy only spares it a question, and whether an app may call at all is read there at every call.
A token has a generation. Whoever was refused names the generation that failed, so thirty refusals cause one renewal and
a late one never drops a newer token. Renewal holds a session lock, never a transaction. WeCom bans an address for an
hour when it goes on sending a wrong secret, so a refused credential is stopped at once and tries are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tagwarden.corps import credentials
from tagwarden.corps.credentials import AppCredential
from tagwarden.kernel import db
from tagwarden.kernel.sealing import SealBroken, Sealer
from tagwarden.wecom import ledger
from tagwarden.wecom.model import CallClass, CorpStopped, NoAnswer, TokenBrake, VerdictKind, WecomRefused
from tagwarden.wecom.token_share import Copy, TokenShare, purpose
from tagwarden.wecom.transport import Request, Transport

LOG = logging.getLogger(__name__)

REFUSED_PER_HOUR = 3
ACCEPTED_PER_HOUR = 60
HOUR = 3600.0
RENEW_BEFORE = 60.0
POLL = 0.05
RENEWING_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Token:
    """A token, the generation to name when it is refused, and the credential it was got with."""

    value: str = field(repr=False)
    generation: int
    credential: AppCredential


class Tokens:
    """Gives out tokens; one instance a process."""

    def __init__(self, sealer: Sealer, transport: Transport) -> None:
        self._sealer = sealer
        self._transport = transport
        self._share = TokenShare(sealer)
        self._flights: dict[tuple[str, str, int], asyncio.Task[Token]] = {}
        # Each renewal holds a pooled connection and needs a second one: more at once could empty the pool.
        self._renewing = asyncio.Semaphore(RENEWING_AT_ONCE)

    async def close(self) -> None:
        """Ends renewals under way."""
        for flight in list(self._flights.values()):
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def get(self, corp_id: str, app: str) -> Token:
        """A token that is not about to expire; CorpStopped, CredentialMissing, TokenBrake, NoAnswer, WecomRefused."""
        return await self._better_than(corp_id, app, -1)

    async def refresh(self, corp_id: str, app: str, stale_generation: int) -> Token:
        """A token newer than the generation that WeCom refused; renews only if nobody else has."""
        return await self._better_than(corp_id, app, stale_generation)

    async def _better_than(self, corp_id: str, app: str, stale: int) -> Token:
        if db.in_transaction():
            raise RuntimeError("a token is never renewed inside a transaction")
        token = await self._known(await self._credential(corp_id, app), stale)
        return token or await self._fly(corp_id, app, stale)

    async def _fly(self, corp_id: str, app: str, stale: int) -> Token:
        # Whoever asks meanwhile shares this attempt, its failure too: else an outage would be met by one try for each.
        key = (corp_id, app, stale)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._renew_alone(corp_id, app, stale))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: tuple[str, str, int], flight: asyncio.Task[Token]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # looked at, so that nobody's absence makes asyncio complain

    async def _renew_alone(self, corp_id: str, app: str, stale: int) -> Token:
        while True:
            async with self._alone(corp_id, app) as alone:
                if alone:
                    return await self._renew_unless_done(corp_id, app, stale)
            await asyncio.sleep(POLL)
            token = await self._known(await self._credential(corp_id, app), stale)
            if token is not None:
                return token

    async def _renew_unless_done(self, corp_id: str, app: str, stale: int) -> Token:
        credential = await self._credential(corp_id, app)
        return await self._stored(credential, stale) or await self._renew(credential, stale)

    async def _credential(self, corp_id: str, app: str) -> AppCredential:
        credential = await credentials.load(self._sealer, corp_id, app)
        if credential.stopped_reason is not None:
            raise CorpStopped(corp_id=corp_id, app=app, reason=credential.stopped_reason)
        return credential

    async def _known(self, credential: AppCredential, stale: int) -> Token | None:
        copy = await self._share.newer(credential, stale)
        return _token(copy, credential) if copy else await self._stored(credential, stale)

    async def _stored(self, credential: AppCredential, stale: int) -> Token | None:
        row = await db.fetch_one(
            "select token_sealed, generation, extract(epoch from expires_at - clock_timestamp())::float8 as lasts"
            " from wecom_token where corp_id = $1 and app = $2 and generation > $3 and expires_at > clock_timestamp()",
            credential.corp_id,
            credential.app,
            stale,
        )
        if row is None:
            return None
        try:
            copy = Copy(self._sealer.open(row["token_sealed"], purpose(credential)), row["generation"])
        except SealBroken:
            return None
        await self._share.put(credential, copy, row["lasts"])
        return _token(copy, credential)

    async def _renew(self, credential: AppCredential, stale: int) -> Token:
        await self._count(credential)
        entry = ledger.Entry(credential.corp_id, credential.app, "gettoken", CallClass.INTERACTIVE)
        params = {"corpid": credential.corp_id, "corpsecret": credential.secret}
        try:
            answer = await self._transport.call(entry, Request("GET", "gettoken", params, expects="access_token"))
        except WecomRefused as refused:
            if refused.verdict.kind is VerdictKind.STOP:
                raise await self.stop(credential, refused) from None
            raise
        return await self._store(credential, stale, answer.get("access_token"), answer.get("expires_in"))

    async def _count(self, credential: AppCredential) -> None:
        accepted, refused = await ledger.tokens_asked(credential.corp_id, credential.app, HOUR)
        if refused >= REFUSED_PER_HOUR or accepted >= ACCEPTED_PER_HOUR:
            raise TokenBrake()

    async def _store(self, credential: AppCredential, stale: int, value: object, expires_in: object) -> Token:
        if not isinstance(value, str) or not value or not isinstance(expires_in, int) or expires_in <= 0:
            raise NoAnswer("not_wecom")
        lasts = expires_in - min(RENEW_BEFORE, expires_in / 10)
        # Above the generation that was refused too: a database set back to an earlier day has forgotten it.
        generation = await db.fetch_value(
            "insert into wecom_token (corp_id, app, token_sealed, expires_at, generation) values ($1, $2, $3,"
            " clock_timestamp() + make_interval(secs => $4), greatest($5::bigint, 0) + 1) on conflict (corp_id, app)"
            " do update set token_sealed = excluded.token_sealed, expires_at = excluded.expires_at,"
            " generation = greatest(wecom_token.generation, $5) + 1 returning generation",
            credential.corp_id,
            credential.app,
            self._sealer.seal(value, purpose(credential)),
            lasts,
            stale,
        )
        copy = Copy(value, generation)
        await self._share.put(credential, copy, lasts)
        return _token(copy, credential)

    async def stop(self, credential: AppCredential, refused: WecomRefused) -> CorpStopped:
        """Stops the app unless the credential that was refused has been replaced meanwhile; returns what to raise."""
        corp_id, app = credential.corp_id, credential.app
        reason = f"{refused.wecom_code} {refused.verdict.words_zh}"
        if await credentials.stop(self._sealer, credential, reason):
            LOG.error("WeCom calls stopped: corp %s, app %s, code %s", corp_id, app, refused.wecom_code)
        return CorpStopped(corp_id=corp_id, app=app, reason=reason)

    @contextlib.asynccontextmanager
    async def _alone(self, corp_id: str, app: str) -> AsyncIterator[bool]:
        # Tried, not waited for: a waiter would sit on a pooled connection that the holder may need.
        key = lock_key(corp_id, app)
        async with self._renewing, db.connection() as session:
            alone = await session.fetchval("select pg_try_advisory_lock($1)", key)
            try:
                yield alone
            finally:
                if alone:
                    await session.execute("select pg_advisory_unlock($1)", key)


def lock_key(corp_id: str, app: str) -> int:
    """The advisory lock under which this app's token is renewed."""
    digest = hashlib.sha256(f"wecom_token/{corp_id}/{app}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _token(copy: Copy, credential: AppCredential) -> Token:
    return Token(copy.value, copy.generation, credential)
