"""Every query over cards to signers: which requests have to be drawn anew, and each card with what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tagwarden.kernel import db, notices
from tagwarden.kernel.ids import new_id
from tagwarden.sync.model import DIRTY, LEASE, CardState, Step
from tagwarden.wecom.model import code_at_head

CODE_LIVES = timedelta(hours=72)
"""How long a response code is good (path/90236)."""

_COLUMNS = (
    "id, approval_id, round, level, userid, content_hash, version, task_id, begun, state, outcome, response_code, code_until,"
    " attempts, leased_until as lease"
)
_OUTSIDE = "(select e.wecom_userid from employee e where e.corp_id = $1 and e.userid = {card}.userid) as wecom_userid"
_OF_CARD = f"{_COLUMNS}, {_OUTSIDE.format(card='approval_card')}"
_OURS = " where corp_id = $1 and id = $2 and leased_until = $3"


@dataclass(frozen=True, slots=True)
class Card:
    """One person's card for one step of one request; `version` is the request's as the card shows it.

    `wecom_userid`: what WeCom calls him, where it renamed the account.
    """

    id: UUID
    approval_id: UUID
    round: int
    level: int
    userid: str
    content_hash: str
    version: int
    task_id: str
    begun: bool
    state: CardState
    outcome: str | None
    response_code: bytes | None
    code_until: datetime | None
    attempts: int
    lease: datetime | None
    wecom_userid: str | None

    @property
    def outside(self) -> str:
        """The userid by which WeCom knows him now."""
        return self.wecom_userid or self.userid

    @property
    def step(self) -> Step:
        return Step(self.round, self.level)


def purpose(corp_id: str, card: Card) -> str:
    """What a sealed response code is bound to."""
    return f"{corp_id}/card/{card.id}"


def _card(row: db.Row) -> Card:
    return Card(**{**row, "state": CardState(row["state"])})


# -- requests to draw ---------------------------------------------------------------------------------------------------


async def mark_dirty(corp_id: str, approval_id: UUID) -> None:
    """Notes, in the transaction that moved the request, that its cards have to be looked at."""
    await db.execute(
        "insert into card_draw (corp_id, approval_id) values ($1, $2) on conflict (approval_id) do update set dirty = true,"
        " version = card_draw.version + 1",
        corp_id,
        approval_id,
    )
    await notices.tell(DIRTY, corp_id)


async def next_to_draw(corp_id: str) -> UUID | None:
    """A request whose cards have to be looked at."""
    found: UUID | None = await db.fetch_value(
        "select approval_id from card_draw where corp_id = $1 and dirty order by approval_id limit 1", corp_id
    )
    return found


async def begin_draw(corp_id: str, approval_id: UUID) -> int | None:
    """Locks the request's drawing; None when somebody else drew it meanwhile."""
    found: int | None = await db.fetch_value(
        "select version from card_draw where corp_id = $1 and approval_id = $2 and dirty for update skip locked",
        corp_id,
        approval_id,
    )
    return found


async def drawn(corp_id: str, approval_id: UUID, epoch: int) -> None:
    """The cards are those of this epoch; the row is locked since `begin_draw`."""
    await db.execute(
        "update card_draw set dirty = false, epoch = $3 where corp_id = $1 and approval_id = $2", corp_id, approval_id, epoch
    )


async def redraw_moved(corp_id: str) -> None:
    """Open requests whose signers may be others now: rights or places moved, or a delegation began or ended just now."""
    await db.execute(
        "update card_draw c set dirty = true, version = c.version + 1 from approval a where c.corp_id = $1 and a.corp_id = $1"
        " and a.id = c.approval_id and a.state in ('pending_level1', 'pending_level2') and not c.dirty"
        " and (c.epoch < (select epoch from corp_epoch where corp_id = $1) or exists (select 1 from delegation d"
        "  where d.corp_id = $1 and (d.starts_at between now() - interval '3 minutes' and now()"
        "   or least(d.ends_at, d.ended_at) between now() - interval '3 minutes' and now())))",
        corp_id,
    )


async def can_send(corp_id: str, app: str) -> bool:
    """Whether the app can send cards: its AgentId is stored, and its callback keys, without whose URL WeCom takes no card
    with buttons (43012)."""
    found = await db.fetch_value(
        "select agent_id is not null and token_sealed is not null and aes_key_sealed is not null as able from corp_credential"
        " where corp_id = $1 and app = $2",
        corp_id,
        app,
    )
    return bool(found)


# -- cards --------------------------------------------------------------------------------------------------------------


async def of_request(corp_id: str, approval_id: UUID) -> list[Card]:
    """Every card of a request, locked."""
    rows = await db.fetch(
        f"select {_OF_CARD} from approval_card where corp_id = $1 and approval_id = $2 order by id for update",
        corp_id,
        approval_id,
    )
    return [_card(row) for row in rows]


async def insert(corp_id: str, approval_id: UUID, step: Step, content_hash: str, version: int, userids: Iterable[str]) -> None:
    """Writes cards to be sent; a person has one a step."""
    rows = [(card_id := new_id(), userid, f"tw-{card_id.hex}-1") for userid in sorted(userids)]
    await db.execute(
        "insert into approval_card (corp_id, id, approval_id, round, level, userid, content_hash, version, task_id)"
        " select $1, i, $5, $6, $7, u, $8, $9, t from unnest($2::uuid[], $3::text[], $4::text[]) as n (i, u, t)"
        " on conflict (corp_id, approval_id, round, level, userid) do nothing",
        corp_id,
        *db.columns(rows, 3),
        approval_id,
        step.round,
        step.level,
        content_hash,
        version,
    )


async def show_version(corp_id: str, card_id: UUID, version: int) -> None:
    """The request moved on without moving in content: what the card shows is this version too."""
    await db.execute("update approval_card set version = $3 where corp_id = $1 and id = $2", corp_id, card_id, version)


async def close(corp_id: str, card: Card, outcome: str) -> None:
    """Lets a card be closed on its screen, saying what came of it; one that never left is closed already."""
    after = CardState.CLOSED if card.state is CardState.WAITING and not card.begun else CardState.CLOSING
    await db.execute(
        "update approval_card set state = $3, outcome = $4, attempts = 0, next_try_at = null,"
        " begun = begun and state = 'waiting', closed_at = case when $3 = 'closed' then now() end where corp_id = $1 and id = $2",
        corp_id,
        card.id,
        after.value,
        outcome,
    )


async def claim(corp_id: str) -> Card | None:
    """Leases a card to be sent or closed, whose request is drawn as it stands; those to be sent first."""
    row = await db.fetch_one(
        "with picked as (select id from approval_card c where corp_id = $1 and state in ('waiting', 'closing')"
        " and coalesce(next_try_at, '-infinity') <= now() and coalesce(leased_until, '-infinity') < now()"
        " and not exists (select 1 from card_draw d where d.corp_id = $1 and d.approval_id = c.approval_id and d.dirty)"
        " order by state = 'closing', created_at limit 1 for update skip locked)"
        " update approval_card s set leased_until = now() + $2::interval from picked where s.corp_id = $1 and s.id = picked.id"
        f" returning {', '.join('s.' + name for name in _COLUMNS.split(', '))}, {_OUTSIDE.format(card='s')}",
        corp_id,
        LEASE,
    )
    return _card(row) if row else None


async def begin_call(corp_id: str, card: Card, task_id: str) -> bool:
    """Commits, before the call leaves, under which task it does; False when the lease was lost.

    After a call of unknown outcome the card goes out under another task: it may be there twice, it is never lost.
    """
    row = await db.fetch_one(
        "update approval_card set begun = true, task_id = $4,"
        " earlier_tasks = case when task_id <> $4 then earlier_tasks || task_id else earlier_tasks end"
        + _OURS
        + " and leased_until > now() returning true as ours",
        corp_id,
        card.id,
        card.lease,
        task_id,
    )
    return row is not None


async def sent(corp_id: str, card: Card, response_code: bytes | None) -> None:
    """The card is on its screen. One that was closed meanwhile keeps its state and can be closed there now."""
    await db.execute(
        "update approval_card set state = case when state = 'waiting' then 'sent' else state end, begun = false, attempts = 0,"
        " leased_until = null, next_try_at = null, sent_at = now(), response_code = $4, code_until = now() + $5::interval"
        + _OURS,
        corp_id,
        card.id,
        card.lease,
        response_code,
        CODE_LIVES,
    )


async def settle(corp_id: str, card: Card, state: CardState) -> None:
    """The card is closed on its screen, or stays open there because nothing can close it any more."""
    await db.execute(
        "update approval_card set state = $4, begun = false, leased_until = null, next_try_at = null, response_code = null,"
        " closed_at = now()" + _OURS,
        corp_id,
        card.id,
        card.lease,
        state.value,
    )


async def postpone(corp_id: str, card: Card, wait: timedelta, *, counted: bool = True, unknown: bool = False) -> None:
    """Tries again later; `unknown` keeps in mind that the call may have been carried out."""
    await db.execute(
        "update approval_card set leased_until = null, attempts = attempts + $5, next_try_at = now() + $4::interval,"
        " begun = begun and $6" + _OURS,
        corp_id,
        card.id,
        card.lease,
        wait,
        int(counted),
        unknown,
    )


async def give_up(corp_id: str, card: Card, reason: str) -> None:
    """Stops trying; the reason is shown in the ledger. A card that was closed meanwhile needs nothing any more."""
    await db.execute(
        "update approval_card set state = case when state = 'waiting' then 'given_up' else 'closed' end, begun = false,"
        " leased_until = null, given_up = $4, given_up_code = $5" + _OURS,
        corp_id,
        card.id,
        card.lease,
        reason,
        code_at_head(reason),
    )


async def retry(corp_id: str, card_ids: Sequence[UUID]) -> int:
    """Sends given-up cards again."""
    rows = await db.fetch(
        "update approval_card set state = 'waiting', given_up = null, given_up_code = null, attempts = 0, next_try_at = null"
        " where corp_id = $1 and id = any($2::uuid[]) and state = 'given_up' returning approval_id",
        corp_id,
        list(card_ids),
    )
    for row in rows:
        await mark_dirty(corp_id, row["approval_id"])  # whoever is not due any more gets none
    return len(rows)


async def retry_all(corp_id: str, code: int | None, limit: int = 500) -> int:
    """The same of all that were given up with this code (None: any)."""
    rows = await db.fetch(
        "select id from approval_card where corp_id = $1 and state = 'given_up' and ($2::integer is null or given_up_code = $2)"
        " order by id limit $3",
        corp_id,
        code,
        limit,
    )
    return await retry(corp_id, [row["id"] for row in rows]) if rows else 0


async def counts(corp_id: str) -> db.Row:
    """How many cards wait to be sent or closed, how many were given up or could not be closed."""
    row = await db.fetch_one(
        "select count(*) filter (where state in ('waiting', 'closing')) as waiting,"
        " count(*) filter (where state = 'given_up') as given_up from approval_card"
        " where corp_id = $1 and state in ('waiting', 'closing', 'given_up')",
        corp_id,
    )
    return row or {"waiting": 0, "given_up": 0}


# -- clicks -------------------------------------------------------------------------------------------------------------


async def by_task(corp_id: str, task_id: str) -> Card | None:
    """The card that went out under this task."""
    row = await db.fetch_one(
        f"select {_OF_CARD} from approval_card where corp_id = $1 and (task_id = $2"
        " or (earlier_tasks <> '{}' and earlier_tasks @> array[$2::text]))",
        corp_id,
        task_id,
    )
    return _card(row) if row else None


async def clicked(corp_id: str, card_id: UUID, response_code: bytes | None, outcome: str) -> None:
    """Keeps the click's own response code, which is fresh, and lets the card say what came of the click."""
    await db.execute(
        "update approval_card set response_code = coalesce($3, response_code), code_until = now() + $5::interval,"
        " outcome = $4, state = 'closing', attempts = 0, next_try_at = null where corp_id = $1 and id = $2"
        " and state in ('waiting', 'sent', 'closing')",
        corp_id,
        card_id,
        response_code,
        outcome,
        CODE_LIVES,
    )
    await notices.tell(DIRTY, corp_id)
