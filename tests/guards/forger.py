"""Writes approvals by hand, in plain SQL, as somebody who holds the application's password would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from support.company import Company
from tagwarden.kernel.ids import new_id

HASH = "the content"
BASE = "the base"


@dataclass
class Forger:
    """Each step is one statement; what the guards make of it is the test's business."""

    sql: asyncpg.Connection
    company: Company

    async def ask(
        self,
        *effects: str,
        requester: str = "ann",
        person: str | None = None,
        about: str = "ann",
        state: str = "pending_level1",
        barred: Sequence[str] = (),
        **more: Any,
    ) -> UUID:
        """An approval with its effects; `more` are further columns."""
        row: dict[str, Any] = {
            "corp_id": self.company.corp_id,
            "id": new_id(),
            "kind": "tag_change",
            "state": state,
            "payload": "{}",
            "fingerprint": BASE,
            "content_hash": HASH,
            "requester": requester,
            "requester_person": person or requester,
            "about_userid": about,
            "level1": ["east"],
            "level2": ["boss", "hq"],
            "barred": list(barred),
            **more,
        }
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.sql.execute(
            f"insert into approval ({', '.join(row)}, created_at, updated_at, expires_at)"
            f" values ({places}, now(), now(), now() + interval '1 day')",
            *row.values(),
        )
        for key in effects:
            await self.effect(row["id"], key)
        found: UUID = row["id"]
        return found

    async def effect(self, approval_id: UUID, key: str, round_: int = 1, used: bool = False) -> None:
        """One effect."""
        await self.sql.execute(
            "insert into approval_effect (corp_id, approval_id, round, key, consumed_at)"
            " values ($1, $2, $3, $4, case when $5 then now() end)",
            self.company.corp_id,
            approval_id,
            round_,
            key,
            used,
        )

    async def sign(
        self,
        approval_id: UUID,
        level: int,
        signer: str,
        *,
        person: str | None = None,
        by_asking: bool = False,
        verdict: str = "approve",
        content_hash: str = HASH,
        fingerprint: str = BASE,
        round_: int = 1,
    ) -> None:
        """One signature; with `by_asking` the request is moved on as the service would."""
        await self.sql.execute(
            "insert into approval_signature (corp_id, id, approval_id, round, level, signer, signer_person, by_asking, verdict,"
            " content_hash, fingerprint, epoch, signed_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, now())",
            self.company.corp_id,
            new_id(),
            approval_id,
            round_,
            level,
            signer,
            person or signer,
            by_asking,
            verdict,
            content_hash,
            fingerprint,
        )

    async def move(self, approval_id: UUID, state: str) -> None:
        """The request in another state."""
        await self.sql.execute("update approval set state = $2 where id = $1", approval_id, state)

    async def signed_by_two(self, *effects: str, **more: Any) -> UUID:
        """A request with both signatures, one statement short of being applied."""
        approval_id = await self.ask(*effects, **more)
        await self.sign(approval_id, 1, "east")
        await self.move(approval_id, "pending_level2")
        await self.sign(approval_id, 2, "hq")
        return approval_id

    async def approve(self, *effects: str, **more: Any) -> UUID:
        """A request applied as the rules have it."""
        approval_id = await self.signed_by_two(*effects, **more)
        await self.move(approval_id, "applied")
        return approval_id

    async def mark(self, follow_id: UUID, tag_id: UUID, **more: Any) -> UUID:
        """A row of `assignment`."""
        row = {
            "corp_id": self.company.corp_id,
            "id": new_id(),
            "follow_id": follow_id,
            "tag_id": tag_id,
            "source": "manual",
            "actor": "ann",
            **more,
        }
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.sql.execute(f"insert into assignment ({', '.join(row)}, since) values ({places}, now())", *row.values())
        made: UUID = row["id"]
        return made
