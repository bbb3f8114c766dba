"""One decision in this process, at three sizes: warm and first time, beside stock Casbin over the same rows.

Asked through `Picture.decide`, as the service asks. Half of the questions are refused, each stands for a cell of its own,
and there are as many as grants, so that a larger matrix also has a larger memory of answers to be found in. Times include
the clock's own call.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from bench.ground import Ground, Shape
from bench.matrix import SEED, SIZES, Size, shape
from bench.report import Options, Row, Runs, percentile
from bench.stock import Stock
from tagwarden.governance import operator
from tagwarden.identity.model import Department, Directory, Employee, RoleName
from tagwarden.policy.chains import ApprovalRules
from tagwarden.policy.enforcer import PolicyEngine
from tagwarden.policy.matrix import Matrix
from tagwarden.policy.model import Action, Capability, Grant, Relation, read_capabilities
from tagwarden.policy.service import Picture, model_text

COMMAND = "python -m bench decision"
WARM_SAMPLES = 220_000
STOCK_SAMPLES = {1_000: 2_000, 11_000: 400, 110_000: 60}
Asked = tuple[str, str, str, Action, Relation | None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Nanoseconds."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Timing:
        return cls(percentile(nanoseconds, 0.5), percentile(nanoseconds, 0.99), max(nanoseconds))

    def __str__(self) -> str:
        return f"{self.p50 / 1000:.2f} / {self.p99 / 1000:.2f} / {self.most / 1000:.0f} µs"


def measure(ground: Ground, options: Options) -> list[Row]:
    """Warm, first time, and stock Casbin; the ratio is of one run."""
    prepared = {size: (shape(size), questions(size)) for size in SIZES}
    warm: dict[Size, list[Timing]] = {size: [] for size in SIZES}
    first: dict[Size, list[Timing]] = {size: [] for size in SIZES}
    stock: dict[Size, list[Timing]] = {size: [] for size in SIZES}
    noise = Runs(options.runs)
    for run in noise:
        for size, (organisation, asked) in prepared.items():
            gc.collect()
            gc.freeze()  # what the other sizes hold is not the collector's to walk; this size's picture is
            picture = picture_of(organisation)
            first[size].append(Timing.of(_ask(picture, asked)))
            again = random.Random(SEED + run.number).choices(asked, k=WARM_SAMPLES)  # noqa: S311
            gc.collect()
            warm[size].append(Timing.of(_ask(picture, again)))
            stock[size].append(_ask_stock(picture, organisation, asked[: STOCK_SAMPLES[size.grants]]))
    return [*_rows(warm, first, stock, noise.note), _ratios(warm, noise.note)]


def _rows(
    warm: dict[Size, list[Timing]], first: dict[Size, list[Timing]], stock: dict[Size, list[Timing]], note: str
) -> list[Row]:
    rows = []
    for size in SIZES:
        name, largest = f"{size.grants:,} grants", size is SIZES[-1]
        asked = f"p50 / p99 / max of {WARM_SAMPLES:,}; {note}"
        rows.append(Row(f"decision, warm, {name}", "p99 ≤ 5 µs" if largest else "", list(map(str, warm[size])), COMMAND, asked))
    for size in SIZES:
        name, largest = f"{size.grants:,} grants", size is SIZES[-1]
        asked = f"p50 / p99 / max of {size.grants:,} cells"
        goal = "≤ 1 ms" if largest else ""
        rows.append(Row(f"decision, first time for a cell, {name}", goal, list(map(str, first[size])), COMMAND, asked))
    for size in SIZES:
        asked = f"p50 / p99 / max of {STOCK_SAMPLES[size.grants]:,}; answers equal to ours"
        rows.append(
            Row(f"stock `casbin.Enforcer.enforce`, {size.grants:,} grants", "", list(map(str, stock[size])), COMMAND, asked)
        )
    return rows


def _ratios(warm: dict[Size, list[Timing]], note: str) -> Row:
    small, large = warm[SIZES[0]], warm[SIZES[-1]]
    ratios = [f"{b.p99 / a.p99:.2f}" for a, b in zip(small, large, strict=True)]
    return Row("decision, warm, p99(110k) / p99(1k)", "≤ 1.5", ratios, COMMAND, note)


def _ask(picture: Picture, asked: Sequence[Asked]) -> list[int]:
    clock, decide = time.perf_counter_ns, picture.decide
    took = []
    for actor, group, kind, action, relation in asked:
        since = clock()
        decide(actor, group, kind, action, relation)
        took.append(clock() - since)
    return took


def _ask_stock(picture: Picture, organisation: Shape, asked: Sequence[Asked]) -> Timing:
    stock = Stock(capabilities(), grants_of(organisation))
    took = []
    for actor, group, kind, action, relation in asked:
        ready = stock.prepared(picture.subject(actor), group, kind, action, relation)
        since = time.perf_counter_ns()
        allowed = stock.enforce(ready)
        took.append(time.perf_counter_ns() - since)
        if allowed != picture.may(actor, group, kind, action, relation):
            raise RuntimeError(f"stock Casbin says {allowed} to {(actor, group, kind, action, relation)}")
    return Timing.of(took)


@cache
def capabilities() -> tuple[Capability, ...]:
    """The shipped ones."""
    return read_capabilities(operator.default_texts()["roles.toml"])


def grants_of(organisation: Shape) -> list[Grant]:
    """The matrix as the engine takes it, sorted by id as the repository reads it."""
    rows = [
        Grant(one.id, one.department, one.group, one.action, one.effect, one.inherit, one.reach) for one in organisation.grants
    ]
    return sorted(rows, key=lambda row: row.id)


def picture_of(organisation: Shape) -> Picture:
    """A picture of an organisation, as the service loads it from rows."""
    employees = {
        one.userid: Employee(
            one.userid,
            one.userid,
            one.userid,
            True,
            frozenset({one.department}),
            frozenset({one.department} if one.leads else ()),
            frozenset(RoleName(role) for role in one.roles),
        )
        for one in organisation.people
    }
    departments = {number: Department(number, f"d{number}", parent) for number, parent in organisation.parents.items()}
    grants = grants_of(organisation)
    engine = PolicyEngine(capabilities(), grants, model_text())
    return Picture("corp", 1, 1, Directory(departments, employees), engine, ApprovalRules(), Matrix(grants))


def questions(size: Size) -> list[Asked]:
    """As many different questions as grants, half of them refused, shuffled."""
    organisation = shape(size)
    picture = picture_of(organisation)
    chance = random.Random(SEED)  # noqa: S311
    people, groups = [one.userid for one in organisation.people], list(organisation.groups)
    wanted = size.grants // 2
    found: dict[bool, dict[Asked, None]] = {True: {}, False: {}}
    while min(len(found[True]), len(found[False])) < wanted:
        group = chance.choice(groups)
        relation = chance.choice((*Relation, None))
        asked = (chance.choice(people), group, organisation.groups[group][0].value, chance.choice(list(Action)), relation)
        answer = picture.may(*asked)
        if len(found[answer]) < wanted:
            found[answer][asked] = None
    mixed = [*found[True], *found[False]]
    chance.shuffle(mixed)
    return mixed
