"""The frame of every writing use case: one transaction, one lock order, its audit lines, its idempotent answer.

Order, for every command: the idempotency key (advisory; taken means 409), the epoch row (shared, or exclusive from
the start where the use case may bump it), then what the use case locks itself (approval, follows by id, tags by id,
groups by id), the audit head last. A refusal rolls everything back and is recorded afterwards; when that record cannot
be written, the answer is 503. A dry run is rolled back when all is done. No network call and no spawned task may stand inside.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import asyncpg
import msgspec

from tagwarden.audit import service as audit
from tagwarden.corps import epoch as epochs
from tagwarden.corps import refusals
from tagwarden.corps.epoch import EpochMoved
from tagwarden.corps.model import (
    Caller,
    Corp,
    CorpState,
    CorpUnknown,
    GuardRefused,
    Idempotency,
    IdempotencyMismatch,
    IdempotencyRunning,
    Overtaken,
    PolicySource,
    Work,
)
from tagwarden.corps.refusals import AGAIN, ATTEMPTS
from tagwarden.kernel import clock, db
from tagwarden.kernel.errors import Refused

P = ParamSpec("P")
R = TypeVar("R")
GUARD_STATES = "TW"


class BeginAgain(Exception):
    """What a use case has locked is no longer all it has to lock: roll back, begin again."""


class _DryRun(Exception):
    """Takes the answer of a dry run out of its transaction, which is rolled back."""

    def __init__(self, result: Any) -> None:
        self.result = result
        super().__init__()


class Epoch(Enum):
    """How a use case holds the epoch row."""

    SHARED = "for share"
    EXCLUSIVE = "for update"


LockChoice = Epoch | Callable[..., Awaitable[Epoch]]


def command(
    lock: LockChoice,
) -> Callable[[Callable[Concatenate[Work, P], Awaitable[R]]], Callable[Concatenate[Caller, P], Coroutine[Any, Any, R]]]:
    """Makes a use case of a function whose first parameter is the open `Work`; callers pass their `Caller` instead.

    An exclusive lock moves the epoch when the function succeeds. `lock` may be a coroutine function of the call's own
    arguments, for use cases whose subject decides (an approval's kind).
    """

    def wrap(use_case: Callable[Concatenate[Work, P], Awaitable[R]]) -> Callable[Concatenate[Caller, P], Coroutine[Any, Any, R]]:
        @functools.wraps(use_case)
        async def run(caller: Caller, /, *args: P.args, **kwargs: P.kwargs) -> R:
            held = lock if isinstance(lock, Epoch) else await lock(caller, *args, **kwargs)
            try:
                return await _attempt(use_case, caller, held, *args, **kwargs)
            except Refused as refusal:
                if caller.dry_run:
                    raise
                await refusals.record(caller, use_case.__name__, refusal)
                raise

        return run

    return wrap


async def _attempt(
    use_case: Callable[Concatenate[Work, P], Awaitable[R]], caller: Caller, held: Epoch, *args: P.args, **kwargs: P.kwargs
) -> R:
    for _ in range(ATTEMPTS):
        try:
            return await _run_once(use_case, caller, held, *args, **kwargs)
        except _DryRun as done:
            answer: R = done.result
            return answer
        except EpochMoved as moved:
            await moved.reload()
        except (BeginAgain, *AGAIN):
            continue
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "").startswith(GUARD_STATES):
                raise GuardRefused() from error
            raise
    raise Overtaken()


async def _run_once(
    use_case: Callable[Concatenate[Work, P], Awaitable[R]], caller: Caller, held: Epoch, *args: P.args, **kwargs: P.kwargs
) -> R:
    async with db.transaction():
        if caller.idempotency is not None:
            stored = await _claim_idempotency(caller, caller.idempotency)
            if stored is not None:
                epochs.note(await epochs.standing(caller.corp_id))  # at least that of the first answer
                answer: R = msgspec.convert(msgspec.json.decode(stored), _result_type(use_case), strict=False)
                return answer
        work = await _open(caller, held)
        epochs.note(work.epoch)
        left = work.epoch
        result = await use_case(work, *args, **kwargs)
        if held is Epoch.EXCLUSIVE:
            left = await epochs.bump(work.corp_id)
            work.bumped = True
        if caller.idempotency is not None:
            await _keep_answer(caller, caller.idempotency, result)
        await close(work)
        if caller.dry_run:
            await db.execute("set constraints all immediate")  # what the database would ask at commit
            raise _DryRun(result)
    epochs.note(left)  # committed: before, it was nobody's
    return result


async def _open(caller: Caller, held: Epoch) -> Work:
    epoch = await db.fetch_value("select epoch from corp_epoch where corp_id = $1 " + held.value, caller.corp_id)
    if epoch is None:
        raise CorpUnknown()
    # A statement of its own: a lock that waited re-reads the locked row alone, and the corp may have changed meanwhile.
    return Work(caller, await corp_of(caller.corp_id), epoch, clock.now())


async def corp_of(corp_id: str) -> Corp:
    """The tenant as its row says; CorpUnknown."""
    row = await db.fetch_one("select * from corp where corp_id = $1", corp_id)
    if row is None:
        raise CorpUnknown()
    return Corp(
        row["corp_id"],
        row["name"],
        CorpState(row["state"]),
        row["writes_suspended"],
        row["time_zone"],
        row["org_mirrored_at"],
        PolicySource(row["policy_source"]),
    )


async def close(work: Work) -> None:
    """Writes the audit lines and lets the database check that nothing governed changed without one."""
    caller = work.caller
    lines = [audit.canonical(work.corp_id, caller.as_actor(), caller.request_id, work.now, entry) for entry in work.entries]
    await audit.close(work.corp_id, lines, bumped=work.bumped)


async def _claim_idempotency(caller: Caller, key: Idempotency) -> str | None:
    lock = hashlib.sha256("\0".join((caller.corp_id, caller.subject, key.route, key.key)).encode()).digest()[:8]
    if not await db.fetch_value("select pg_try_advisory_xact_lock($1)", int.from_bytes(lock, "big", signed=True)):
        raise IdempotencyRunning()
    row = await db.fetch_one(
        "select body_hash, result from idempotency where corp_id = $1 and subject = $2 and route = $3 and key = $4"
        " and created_at > now() - interval '24 hours'",
        caller.corp_id,
        caller.subject,
        key.route,
        key.key,
    )
    if row is None:
        return None
    if row["body_hash"] != key.body_hash:
        raise IdempotencyMismatch()
    return str(row["result"])


async def _keep_answer(caller: Caller, key: Idempotency, result: object) -> None:
    await db.execute(
        "insert into idempotency (corp_id, subject, route, key, body_hash, result, created_at)"
        " values ($1, $2, $3, $4, $5, $6, now()) on conflict (corp_id, subject, route, key) do update set"
        " body_hash = excluded.body_hash, result = excluded.result, created_at = excluded.created_at",
        caller.corp_id,
        caller.subject,
        key.route,
        key.key,
        key.body_hash,
        msgspec.json.encode(result).decode(),
    )


async def drop_old_answers(corp_id: str) -> None:
    """Forgets idempotent answers after their day."""
    await db.execute("delete from idempotency where corp_id = $1 and created_at < now() - interval '24 hours'", corp_id)


def _result_type(use_case: Callable[..., Any]) -> Any:
    return get_type_hints(use_case).get("return", Any)
