"""One company and a random walk through every use case that approvals have to do with, looked at after every step.

What the walk did stands in a `Truth`; that model, never the product, is asked whether what happened may happen. Choices
depend on the seed alone, so that a walk can be walked again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from support.company import GROUPS, Companies, Company, GrantLine, bundle_of
from tagwarden.audit import service as audit
from tagwarden.catalog.model import Choice
from tagwarden.corps.model import Caller
from tagwarden.governance import roles
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.policy.model import Action, Kind

from . import boxes
from .look import LOOK, Seen, happened
from .model_of_changes import ADOPTION, Group, Mark, Person, Request, Tag
from .model_of_truth import Signature, Truth

PEOPLE: dict[str, tuple[int, bool, tuple[str, ...]]] = {
    "boss": (1, True, ("supervisor",)),
    "hq": (1, False, ("supervisor",)),
    "hq2": (1, False, ("supervisor",)),
    "far": (21, False, ("supervisor",)),
    "admin": (1, False, ("admin",)),
    "east": (10, True, ("manager",)),
    "east2": (10, True, ("manager",)),
    "deputy": (10, False, ("manager",)),
    "near": (11, True, ("manager",)),
    "south": (20, True, ("manager",)),
    "ann": (11, False, ("staff",)),
    "bob": (11, False, ("staff",)),
    "cat": (12, False, ("staff",)),
    "dan": (21, False, ("staff",)),
    "bot": (1, False, ("service",)),
}
TWINS = (("east2", "east"), ("hq2", "hq"))
LIBRARY = {
    **GROUPS,
    "level": (Kind.VALUE, Choice.MULTIPLE, ("gold", "silver", "iron")),
    "spare": (Kind.VALUE, Choice.SINGLE, ("one", "two")),
}
MATRIX = [(department, group) for department in (10, 20) for group in LIBRARY if group != "spare"]
CUSTOMERS = (
    ("ann", "c1", ()),
    ("bob", "c2", ("value/high", "level/gold")),
    ("cat", "c3", ("activity/hot",)),
    ("dan", "c4", ("level/iron",)),
    ("near", "c5", ()),
    ("dan", "c1", ("value/low",)),
)
LAST_RESORTS = ("guard_refused", "overtaken", "internal")


class Walk:
    """The company, what is known of it, and what the step under way means to do."""

    def __init__(self, company: Company, truth: Truth, random: Random) -> None:
        self.company, self.truth, self.random = company, truth, random
        self.asked, self.applied, self.refusals = Counter[str](), Counter[str](), Counter[str]()
        self.happened = Counter[str]()
        self.history: list[str] = []
        self.text = ""
        self.seen: Seen
        self._nothing_meant()

    def _nothing_meant(self) -> None:
        self.fresh: list[Request] = []
        self.signing: tuple[Request, str] | None = None
        self.edited: tuple[Request, set[str], dict[str, Any]] | None = None
        self.escalated: Request | None = None
        self.transferred = False

    # -- for the steps --------------------------------------------------------------------------------------------------

    def say(self, *words: object) -> None:
        """Notes what a step is about to do."""
        self.history.append(" ".join(map(str, words)))

    def caller(self, userid: str, **more: Any) -> Caller:
        return replace(Caller(self.company.corp_id, userid, "tagwarden", may_sign=True), **more)

    def open(self, *kinds: str) -> list[Request]:
        """Requests that wait, of these kinds or of any."""
        found = [one for one in self.truth.requests.values() if one.state.startswith("pending")]
        return [one for one in found if not kinds or one.kind in kinds]

    def proposed(self, kind: str, content: dict[str, Any], requester: str, about: str, approval_id: UUID | None) -> None:
        """A change was asked for: it waits, or it was made because nobody has to sign it."""
        if approval_id is None:
            assert not self.truth.needs_two(kind, content), f"a side door: {kind} {content}"
            self.truth.carry_out(kind, content)
        elif str(approval_id) not in self.truth.requests:
            self.fresh.append(Request(kind, content, requester, about, str(approval_id)))

    # -- a step ---------------------------------------------------------------------------------------------------------

    async def take(self, step: Any) -> None:
        """One step and a look at everything."""
        self._nothing_meant()
        refused = ""
        try:
            await step(self)
        except TagwardenError as error:
            refused = error.code
            self.history[-1] += f": {error.code}"
            self.refusals[error.code] += 1
        assert refused not in LAST_RESORTS, f"{refused}: the service let through what the database had to refuse"
        text = await db.fetch_value(LOOK, self.company.corp_id)
        if text != self.text:
            assert not refused, "a refusal changed something"
            seen = msgspec.json.decode(text, type=Seen)
            await self._understand(seen)
            self.happened.update(happened(self.seen, seen))
            self.text, self.seen = text, seen
        assert all(one.id in self.truth.requests for one in self.fresh), "a request was answered and is not there"

    async def _understand(self, seen: Seen) -> None:
        expected = self.truth.pairs()
        for id_, state, round_, escalations, _ in seen.approvals:
            known = self.truth.requests.get(id_)
            if known is not None and (known.state, known.round, known.escalations) != (state, round_, escalations):
                expected = await self._moved(known, state, round_, escalations, expected, seen)
        before = set(self.truth.marks)
        self._compare_marks(seen, expected, before)
        self._read(seen)
        self._compare(seen)
        for id_, state, *_ in seen.approvals:
            if id_ not in self.truth.requests:
                self._register(id_, state)

    def _register(self, id_: str, state: str) -> None:
        request = next((one for one in self.fresh if one.id == id_), None)
        assert request is not None, "a request nobody asked for"
        request.state, request.base = state, self.truth.base(request)
        if state == "pending_level2":
            request.signed[1] = request.requester
        self.truth.requests[id_] = request
        self.asked[request.kind] += 1

    async def _moved(
        self, request: Request, state: str, round_: int, escalations: int, pairs: set[tuple[str, str]], seen: Seen
    ) -> set[tuple[str, str]]:
        """A request's row moved: only by what this step did to it."""
        assert request.state.startswith("pending"), "a closed request moved"
        if escalations != request.escalations:
            assert self.escalated is request
            assert escalations == request.escalations + 1
            request.escalations = escalations
        if round_ != request.round:
            assert self.edited is not None
            assert self.edited[0] is request
            assert (state, round_) == ("pending_level1", request.round + 1), "an edit begins again at level 1"
            _, editors, request.content = self.edited
            request.editors |= editors
            request.round, request.state, request.signed = round_, state, {}
            request.base = self.truth.base(request)
        elif state in ("pending_level2", "applied") and state != request.state:
            assert self.signing is not None, "it passed by itself"
            assert self.signing[0] is request, "another one passed than was signed"
            request.signed[1 if state == "pending_level2" else 2] = self.signing[1]
            if state == "applied":
                pairs = await self._applied(request, seen)
        request.state = state
        return pairs

    async def _applied(self, request: Request, seen: Seen) -> set[tuple[str, str]]:
        assert request.state == "pending_level2", "applied out of order"
        approval = await self.company.approval(UUID(request.id))
        rows = await db.fetch(
            "select level, signer, on_behalf_of, by_asking, content_hash from approval_signature"
            " where approval_id = $1 and round = $2 and verdict = 'approve' order by level",
            approval.id,
            approval.round,
        )
        if request.kind == ADOPTION:
            self._adopted(request, seen)
        why = self.truth.verdict(request, [Signature(**row) for row in rows], approval.content_hash)
        assert why is None, f"{request.kind} was applied although {why}: {request}, {rows}"
        self.applied[request.kind] += 1
        self.happened["sign for somebody"] += sum(row["on_behalf_of"] is not None for row in rows)
        return self.truth.carry_out(request.kind, request.content)

    def _adopted(self, request: Request, seen: Seen) -> None:
        """Marks that were nobody's now name this request; their owners' signers are the ones that count."""
        adopted = [id_ for id_, _, _, approval in seen.marks if approval == request.id]
        assert adopted, "an adoption of nothing"
        assert set(adopted) <= set(request.content["marks"]), "a mark was adopted that was not asked for"
        request.content["owners"] = sorted({self.truth.follows[self.truth.marks[id_].follow][0] for id_ in adopted})
        for id_ in adopted:
            assert self.truth.marks[id_].approval is None
            self.truth.marks[id_].approval = request.id

    def _compare_marks(self, seen: Seen, expected: set[tuple[str, str]], before: set[str]) -> None:
        truth = self.truth
        follows, value = {row[0] for row in seen.follows}, {row[0] for row in seen.tags if truth_is_value(truth, row[0], row[1])}
        found = {(follow, tag) for _, follow, tag, _ in seen.marks if tag in value}
        wanted = {(follow, tag) for follow, tag in expected if tag in value and (follow in follows or not self.transferred)}
        assert found == wanted, f"value marks: {found - wanted} too many, {wanted - found} too few"
        for id_, _, tag, approval in seen.marks:
            if id_ in before:
                assert truth.marks[id_].approval == approval, "a mark changed who stands behind it"
            elif tag in value:
                assert self.signing is not None
                assert approval == self.signing[0].id, "a value mark nobody signed"
            if tag in value and id_ not in truth.unsigned:
                assert approval is not None
                assert truth.requests[approval].state == "applied", "a value mark without an applied request"

    def _read(self, seen: Seen) -> None:
        """Ids the database gives, and what nobody has to sign."""
        truth = self.truth
        truth.follows = {id_: (owner, customer) for id_, owner, customer in seen.follows}
        truth.marks = {id_: Mark(follow, tag, approval) for id_, follow, tag, approval in seen.marks}

    def _compare(self, seen: Seen) -> None:
        truth = self.truth
        assert seen.groups == sorted((i, g.name, g.kind, g.choice, g.gone) for i, g in truth.groups.items()), "groups"
        assert seen.tags == sorted((i, t.group, t.name, t.retired, t.gone) for i, t in truth.tags.items()), "tags"
        assert seen.people == sorted((i, one.person, one.active) for i, one in truth.people.items()), "people"
        assert seen.roles == sorted((i, role) for i, one in truth.people.items() for role in one.roles), "roles"
        assert seen.issuers == sorted(truth.issuers.items()), "issuers"
        assert (seen.revision, seen.rules) == (truth.revision, truth.rules), "revision"
        assert seen.delegations == sorted((i, d.giver, d.taker, d.ended) for i, d in truth.delegations.items()), "delegations"

    async def finish(self) -> None:
        """The chain of audit lines holds, and the boxes of some show what single questions allow."""
        verdict = await audit.verify(self.company.corp_id)
        assert verdict.sound, verdict
        active = [userid for userid, one in self.truth.people.items() if one.active]
        await boxes.require_exact(self.company, self.random.sample(active, 4))


def truth_is_value(truth: Truth, tag: str, group: str) -> bool:
    """Whether a tag, known or made in this step, lies in a value group."""
    return tag in truth.tags and truth.is_value(group)


async def begin(companies: Companies, random: Random) -> Walk:
    """A company in its own corp, and what the test knows of it; in every second one two accounts are one person."""
    grants = [GrantLine(department, group, Action.USE) for department, group in MATRIX]
    company = await companies.make(people=PEOPLE, groups=LIBRARY, grants=grants, customers=CUSTOMERS)
    people = {
        userid: Person(userid, {home}, {home} if leads else set(), set(held)) for userid, (home, leads, held) in PEOPLE.items()
    }
    for account, same_as in TWINS:
        if random.random() < 0.5:
            await roles.join_persons(company.as_("admin"), account, same_as)
            people[account].person = same_as
    groups = {str(company.groups[name]): Group(name, kind.value, choice.value) for name, (kind, choice, _) in LIBRARY.items()}
    tags = {str(id_): Tag(str(company.groups[(names := path.split("/"))[0]]), names[1]) for path, id_ in company.tags.items()}
    rules = dict(bundle_of({}, {}, []).approvals)
    matrix = {(department, str(company.groups[group])) for department, group in MATRIX}
    walk = Walk(company, Truth(people, groups, tags, rules, matrix, issuers={"tagwarden": True}), random)
    walk.text = await db.fetch_value(LOOK, company.corp_id)
    walk.seen = seen = msgspec.json.decode(walk.text, type=Seen)
    walk.truth.unsigned = {row[0] for row in seen.marks}
    walk.truth.revision = seen.revision
    walk._read(seen)
    walk._compare(seen)
    return walk
