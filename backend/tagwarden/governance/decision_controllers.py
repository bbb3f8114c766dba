"""Questions without doing, over HTTP: may somebody do this, and why (not)? Who could?"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from tagwarden.assignments.model import rule_of_tag
from tagwarden.governance import asking as questions
from tagwarden.governance import who_can as able
from tagwarden.governance.asking import Answer, Asking, Cell, CellAnswer, Many, Question
from tagwarden.governance.schemas import (
    MOST_CELLS,
    AbleOut,
    ActionName,
    DecisionBatch,
    DecisionBatchOut,
    DecisionCellOut,
    DecisionOut,
    DecisionQuestion,
    NearestChange,
    WhoCan,
)
from tagwarden.kernel import clock
from tagwarden.kernel.errors import Invalid
from tagwarden.kernel.http import LARGEST_PAGE, decode_cursor, encode_cursor, problems
from tagwarden.policy.explain import change_out, row_name, trace
from tagwarden.policy.model import Action, Group

LARGEST_BATCH = 3 * 1_048_576
"""Bytes of a body: 10,000 cells over lists of 10,000 of the longest ids need 2.4 MB."""
Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)]
CustomerQuery = Annotated[str | None, QueryParameter(min_length=1, max_length=64)]


class TooManyCells(Invalid):
    code = "too_many_cells"
    zh = "一次最多询问 {most} 项，本次为 {cells} 项"
    en = "At most {most} questions at once; these are {cells}"


class CellOutside(Invalid):
    code = "cell_outside"
    zh = "第 {number} 项指向了列表之外的位置"
    en = "Cell {number} points outside its lists"


class DecisionController(Controller):
    """Questions without doing; not audited."""

    path = "/v1/decisions"
    tags = ("policy",)

    @post("/", operation_id="ask_decision", opt={"action": "ask"}, status_code=200, responses=problems(404))
    async def ask(self, asking: NamedDependency[Asking], data: JSONBody[DecisionQuestion]) -> DecisionOut:
        """May I (or, for who may read the policy: may somebody) do this?"""
        return decision_out(asking, await questions.answer(asking, _question(asking, data)), with_trace=False)

    @post("/explain", operation_id="explain_decision", opt={"action": "ask"}, status_code=200, responses=problems(404))
    async def explain(self, asking: NamedDependency[Asking], data: JSONBody[DecisionQuestion]) -> DecisionOut:
        """The same; admins, auditors and sub-admins of the policy also get every step and the row that decided it."""
        return decision_out(asking, await questions.answer(asking, _question(asking, data)), with_trace=asking.reads_policy)

    @post(
        "/batch",
        operation_id="ask_decisions",
        opt={"action": "ask"},
        status_code=200,
        request_max_body_size=LARGEST_BATCH,
        responses=problems(),
    )
    async def batch(self, asking: NamedDependency[Asking], data: JSONBody[DecisionBatch]) -> DecisionBatchOut:
        """Up to 10,000 questions, answered in order by one epoch."""
        found = await questions.answer_many(asking, _many(asking, data))
        return DecisionBatchOut(asking.picture.epoch, asking.picture.revision, [_cell_out(one) for one in found])


class WhoCanController(Controller):
    """Who could do something now."""

    path = "/v1"
    tags = ("policy",)

    @get("/tags/{tag_id:uuid}/who-can", operation_id="who_can_with_tag", opt={"action": "ask"}, responses=problems(404))
    async def with_tag(
        self,
        asking: NamedDependency[Asking],
        tag_id: FromPath[UUID],
        action: FromQuery[ActionName] = "use",
        external_userid: CustomerQuery = None,
        limit: Limit = 50,
        cursor: FromQuery[str | None] = None,
    ) -> WhoCan:
        """Everybody who could do this with the tag, on a customer where one is named. Who may not read the policy sees
        colleagues of his departments and leaders above them, without rows."""
        after = decode_cursor(cursor)
        tag, group = await able.tag_asked_about(asking, tag_id)
        rule = rule_of_tag(tag, clock.now().date()) if action == "use" else None
        return await _who_can(asking, group, Action(action), external_userid, after, limit, rule)

    @get(
        "/tag-groups/{group_id:uuid}/who-can",
        operation_id="who_can_with_group",
        opt={"action": "ask"},
        responses=problems(404),
    )
    async def with_group(
        self,
        asking: NamedDependency[Asking],
        group_id: FromPath[UUID],
        action: FromQuery[ActionName] = "use",
        external_userid: CustomerQuery = None,
        limit: Limit = 50,
        cursor: FromQuery[str | None] = None,
    ) -> WhoCan:
        """The same of a group."""
        after = decode_cursor(cursor)
        group = able.group_asked_about(asking, group_id)
        return await _who_can(asking, group, Action(action), external_userid, after, limit, None)


def _question(asking: Asking, data: DecisionQuestion) -> Question:
    named = asking.picture.directory.named
    userid = named(data.userid) if data.userid else asking.caller.userid
    follow = named(data.follow_userid) if data.follow_userid else None
    return Question(userid, str(data.group_id), Action(data.action), data.external_userid, follow)


def decision_out(asking: Asking, answer: Answer, *, with_trace: bool) -> DecisionOut:
    """One answer as HTTP and the command line show it."""
    decision, why, picture = answer.decision, answer.why, asking.picture
    chinese = asking.language == "zh"
    changes = [NearestChange(**change_out(picture, one, with_row=with_trace)) for one in why.changes]
    return DecisionOut(
        decision.allowed,
        decision.step.value if decision.step else None,
        why.reason,
        why.zh if chinese else why.en,
        why.refusal.value if why.refusal else None,
        answer.obligation,
        picture.revision,
        picture.epoch,
        why.nearest_zh if chinese else why.nearest_en,
        changes,
        trace(decision) if with_trace else [],
    )


def _many(asking: Asking, data: DecisionBatch) -> Many:
    named = asking.picture.directory.named
    userids = [named(one) for one in data.userids] if data.userids is not None else [asking.caller.userid]
    actions = [Action(one) for one in data.actions] if data.actions is not None else [Action.USE]
    sizes = (len(userids), len(data.group_ids), len(actions), len(data.customers))
    if data.cells is None:
        count = sizes[0] * sizes[1] * sizes[2] * max(1, sizes[3])
        if count > MOST_CELLS:
            raise TooManyCells(most=MOST_CELLS, cells=count)
        cells = list(questions.product(*sizes))
    else:
        cells = [Cell(one.user, one.group, one.action, one.customer) for one in data.cells]
        for number, one in enumerate(cells):
            customer = one.customer if one.customer is not None else -1
            if one.user >= sizes[0] or one.group >= sizes[1] or one.action >= sizes[2] or customer >= sizes[3]:
                raise CellOutside(number=number)
    return Many(userids, [str(one) for one in data.group_ids], actions, data.customers, cells)


def _cell_out(one: CellAnswer) -> DecisionCellOut:
    decision = one.decision
    if decision is None:
        return DecisionCellOut(False, one.reason)
    step, refusal = decision.step, decision.refusal
    return DecisionCellOut(
        decision.allowed, one.reason, step.value if step else None, refusal.value if refusal else None, one.obligation
    )


async def _who_can(
    asking: Asking, group: Group, action: Action, customer: str | None, after: str | None, limit: int, rule: str | None
) -> WhoCan:
    found = await able.who_can(asking, group, action, customer, after, limit)
    with_row = asking.reads_policy
    items = [
        AbleOut(
            one.employee.userid,
            one.employee.name,
            sorted(one.employee.departments),
            sorted(one.employee.roles),
            one.relation.value if one.relation else None,
            row_name(one.decision.row) if with_row else None,
        )
        for one in found
    ]
    following = encode_cursor(found[-1].employee.userid) if len(found) == limit else None
    return WhoCan(
        asking.picture.epoch,
        UUID(group.id),
        action.value,
        questions.obligation(group, action),
        rule,
        items,
        following,
    )
