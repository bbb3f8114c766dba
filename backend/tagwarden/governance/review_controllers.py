"""The access review over HTTP, for admins, auditors and the sub-admins of policy and members: pages, and a table."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from tagwarden.corps.model import Caller
from tagwarden.governance.review import Review, active, require_reviewer
from tagwarden.governance.review_out import AccessReview, as_table, employee_out
from tagwarden.kernel.http import LARGEST_PAGE, decode_cursor, encode_cursor, problems
from tagwarden.policy.service import Picture

Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]


class AccessReviewController(Controller):
    """Who holds what, since when, why."""

    path = "/v1/access-review"
    tags = ("policy",)

    @get("/", operation_id="review_access", opt={"action": "review"}, responses=problems())
    async def read(
        self,
        picture: NamedDependency[Picture],
        caller: NamedDependency[Caller],
        limit: Limit = 50,
        cursor: FromQuery[str | None] = None,
    ) -> AccessReview:
        """Active employees by userid: roles, modules, departments, groups with the row that opens them, delegations."""
        require_reviewer(picture, caller)
        people = active(picture)
        after = decode_cursor(cursor)
        start = 0 if after is None else bisect_right(people, after, key=lambda one: one.userid)
        page = people[start : start + limit]
        review = Review(picture)
        items = [employee_out(review, one) for one in await review.part(page)]
        following = encode_cursor(page[-1].userid) if start + limit < len(people) else None
        return AccessReview(picture.revision, picture.epoch, items, following)

    @get("/export", operation_id="export_access_review", opt={"action": "review"}, responses=problems())
    async def export(
        self, picture: NamedDependency[Picture], caller: NamedDependency[Caller], bom: FromQuery[bool] = False
    ) -> Stream:
        """The whole as CSV, a row for each thing each person holds; `bom` begins it as Excel wants it."""
        require_reviewer(picture, caller)
        named = {"Content-Disposition": 'attachment; filename="access-review.csv"'}
        return Stream(as_table(Review(picture), bom=bom), media_type="text/csv", headers=named)
