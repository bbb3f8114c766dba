"""The record of every outgoing call: written before the call leaves, closed when its outcome is known.

A row left at `sent` is the call a worker was killed in. No token, secret or phone number ever stands in a row; it must
never be written inside a caller's transaction, because it has to outlive that one's rollback.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tagwarden.kernel import db
from tagwarden.kernel.clock import now
from tagwarden.kernel.ids import new_id
from tagwarden.wecom.model import NO_ANSWER, VERDICTS, CallClass, VerdictKind, verdict
from tagwarden.wecom.pause import TAG_WRITES

SUBJECT_LENGTH = 200
_ENGLISH = dict(NO_ANSWER.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """One call as the ledger shows it; `subject` names what it is about by WeCom ids."""

    corp_id: str
    app: str
    api: str
    call_class: CallClass
    subject: str | None = None
    follow_id: UUID | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    attempt: int = 1
    id: UUID = field(default_factory=new_id)


async def sent(entry: Entry) -> bool:
    """Commits the row before the call begins; a second claim of the same call moves its time only.

    False, and no row, where the call would change WeCom's tags and sending is paused.
    """
    row = await db.fetch_one(
        "insert into wecom_call (corp_id, id, app, api, class, follow_id, subject, add_tags, remove_tags, attempt,"
        " state, sent_at) select $1::text, $2::uuid, $3::text, $4::text, $5::text, $6::uuid, $7::text, $8::text[], $9::text[],"
        " $10::integer, 'sent', clock_timestamp()"
        " where not ($11 and exists (select 1 from wecom_pause where corp_id = $1 and paused))"
        " on conflict (id) do update set sent_at = excluded.sent_at returning true as written",
        entry.corp_id,
        entry.id,
        entry.app,
        entry.api,
        entry.call_class.value,
        entry.follow_id,
        entry.subject[:SUBJECT_LENGTH] if entry.subject else None,
        list(entry.add_tags),
        list(entry.remove_tags),
        entry.attempt,
        entry.api in TAG_WRITES,
    )
    return row is not None


async def accepted(entry: Entry) -> None:
    """WeCom said 0."""
    await _close(entry, "accepted", 0, None)


async def refused(entry: Entry, code: int) -> None:
    """WeCom said another code; its plain words are kept beside it."""
    await _close(entry, "refused", code, verdict(code).words_zh)


async def given_up(entry: Entry, reason: str) -> None:
    """No answer that can be read, or none in time; `reason` is a key of NO_ANSWER."""
    await _close(entry, "given_up", None, NO_ANSWER[reason][0])


async def _close(entry: Entry, state: str, code: int | None, message: str | None) -> None:
    await db.execute(
        "update wecom_call set state = $3, code = $4, message = $5, answered_at = clock_timestamp()"
        " where corp_id = $1 and id = $2 and state = 'sent'",
        entry.corp_id,
        entry.id,
        state,
        code,
        message,
    )


def in_english(words_zh: str | None) -> str | None:
    """The English of a reason why an outcome is unknown, which is kept in Chinese."""
    return _ENGLISH.get(words_zh or "")


async def tokens_asked(corp_id: str, app: str, seconds: float) -> tuple[int, int]:
    """How often gettoken was accepted, and refused for the credential, within the last `seconds` (database time)."""
    row = await db.fetch_one(
        "select count(*) filter (where state = 'accepted') as accepted, count(*) filter (where code = any($4))"
        " as refused from wecom_call where corp_id = $1 and app = $2 and api = 'gettoken' and id > $5"
        " and sent_at > clock_timestamp() - make_interval(secs => $3)",
        corp_id,
        app,
        seconds,
        [code for code, meaning in VERDICTS.items() if meaning.kind is VerdictKind.STOP],
        _oldest_id(now() - timedelta(seconds=2 * seconds)),
    )
    return (row["accepted"], row["refused"]) if row else (0, 0)


def _oldest_id(moment: datetime) -> UUID:
    # A UUIDv7 begins with 48 bits of milliseconds (RFC 9562), so a bound on ids spares the index the whole history.
    return UUID(int=int(moment.timestamp() * 1000) << 80)
