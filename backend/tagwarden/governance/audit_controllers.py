"""The audit chain over HTTP, for admins and auditors: pages, and the whole as a file."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from tagwarden.audit import export
from tagwarden.audit import service as audit
from tagwarden.audit.export import Format
from tagwarden.corps.model import Caller
from tagwarden.governance.schemas import AuditPage
from tagwarden.identity.model import RoleName
from tagwarden.kernel.http import LARGEST_PAGE, decode_cursor, encode_cursor, number_in, problems
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


class AuditController(Controller):
    """The chain of one's own corp."""

    path = "/v1/audit"
    tags = ("audit",)

    @get("/", operation_id="list_audit_lines", opt={"action": "audit"}, responses=problems())
    async def list(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        cursor: FromQuery[str | None] = None,
    ) -> AuditPage:
        """Lines, newest first."""
        _require_reader(picture, caller)
        items = await audit.latest(picture.corp_id, before=number_in(decode_cursor(cursor), 10**18), limit=limit)
        following = encode_cursor(items[-1]["seq"]) if len(items) == limit else None
        return AuditPage(items, following)

    @get("/export", operation_id="export_audit_lines", opt={"action": "audit"}, responses=problems())
    async def export(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        format: FromQuery[Literal["jsonl", "csv"]] = "jsonl",
    ) -> Stream:
        """Every line, oldest first, as JSON Lines or CSV."""
        _require_reader(picture, caller)
        form = Format(format)
        named = {"Content-Disposition": f'attachment; filename="audit.{form.value}"'}
        return Stream(export.export(picture.corp_id, form), media_type=export.MEDIA_TYPES[form], headers=named)


def _require_reader(picture: Picture, caller: Caller) -> None:
    picture.directory.require_role(picture.directory.employee(caller.userid), RoleName.AUDITOR, RoleName.ADMIN)
