"""The sync engine under virtual time: `python -m sync.simulated <first seed> <games>` plays games, each by one seed.

Three workers, the real budget of 60 calls a minute, a WeCom that answers late, wrongly or not at all, callbacks lost,
doubled, spoilt and out of order, people who edit on both sides, workers killed anywhere, clocks that jump. Whatever
happened: in the end WeCom holds what was decided, and never did more than 60 calls arrive in a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from support import virtual
from support.company import PEOPLE, Companies
from support.mailbox import Mailbox, a_mailbox
from support.town import Town, a_town
from support.virtual import VirtualLoop
from tagwarden.assignments import adoption
from tagwarden.assignments.model import TagChangeRefused, TagsUnknown
from tagwarden.assignments.service import TagChange as ChangeOfTags
from tagwarden.assignments.service import change_tags
from tagwarden.catalog import service as catalog
from tagwarden.catalog.model import NameTaken, TagUnknown
from tagwarden.catalog.service import TagChange, TagDraft
from tagwarden.customers.model import CustomerUnknown, FollowUnknown
from tagwarden.kernel import db
from tagwarden.kernel import logging as logs
from tagwarden.kernel.embedded import EmbeddedUrls
from tagwarden.simulator.server import build_server
from tagwarden.sync import drift, drift_rows, repository, sending
from tagwarden.sync import service as sync
from tagwarden.sync.model import RunKind, RunUnderWay

from .ended import CALLS, TIMEOUT, WINDOW, Ending, tags_there
from .workers import Fence, WorkerProcess

WORKERS = 3
STEPS = 40
WARMING_UP = 0
"""The seed played first in each process: what is done for the first time takes other steps."""
PAUSES = (0, 0, 0.2, 0.5, 1, 1, 2, 4, 15, 70)
SETTLED_WITHIN = 6 * 3600.0
FOLLOWS = [
    ("ann", "wmC0", ("value/high",)),
    ("ann", "wmC1", ("activity/hot", "advice/keen")),
    ("ann", "wmC2", ()),
    ("bob", "wmC0", ("value/low", "advice/asked")),
    ("bob", "wmC3", ("activity/cold",)),
    ("dan", "wmC9", ()),
]
TAGS = ("value/high", "value/low", "activity/hot", "activity/cold", "advice/asked", "advice/keen", "advice/cheap")
APIS = ("mark_tag", "mark_tag", "mark_tag", "externalcontact/get", "get_by_user", "get_corp_tag_list", "add_corp_tag", "user/get")
SWITCHES: dict[str, tuple[Any, ...]] = {
    "gettoken_repeats_token": (True, False),
    "new_token_ends_old": (False, True),
    "add_answers_whole_group": (False, True),
    "mark_atomic": (True, False),
    "callback_retry_repeats_nonce": (True, False),
    "list_without_customers_code": (0, 84061),
    "mark_seconds": (0.02, 0.5, 3.0),
}
"""What the documentation leaves open is settled by each game's dice."""
CODES = (-1, 45009, 45033, 45035, 40014, 42001, 6000)
BROKEN = ("reset", "slow", "empty", "html", "truncated", "http")
NOT_NOW = (FollowUnknown, CustomerUnknown, NameTaken, RunUnderWay, TagUnknown, TagsUnknown, TagChangeRefused)


@dataclass
class Game:
    """One seed's company, its workers and its dice."""

    town: Town
    mail: Mailbox
    loop: VirtualLoop
    dice: random.Random
    workers: list[WorkerProcess] = field(default_factory=list)
    victims: list[WorkerProcess] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    jumps: list[int] = field(default_factory=list)

    async def hire(self) -> None:
        """One more worker."""
        process = WorkerProcess(self.town, (CALLS, WINDOW, TIMEOUT), self.crashes)
        await process.start()
        self.workers.append(process)

    async def fire(self) -> None:
        """kill -9 of one of them, anywhere in what it does, and a successor."""
        victim = self.workers.pop(self.dice.randrange(len(self.workers)))
        victim.light(self.dice.randrange(30))
        self.victims.append(victim)
        await self.hire()

    def wake(self) -> None:
        """A notice, which may be lost: then they sweep."""
        if self.dice.random() < 0.8:
            for one in (*self.workers, *self.victims):
                one.wake()

    # -- what happens ---------------------------------------------------------------------------------------------------

    async def edit_here(self) -> None:
        """Staff mark their own customers."""
        owner, customer, _ = self.dice.choice(FOLLOWS)
        tags = {self.town.tags[one] for one in self.dice.sample(TAGS[3:], self.dice.randint(1, 2))}
        held = await self.carried(owner, customer)
        change = ChangeOfTags(customer, tuple(sorted(tags - held)), tuple(sorted(tags & held)), follow_userid=owner)
        await change_tags(self.town.as_(owner), change)

    async def carried(self, owner: str, customer: str) -> set[UUID]:
        """Our tags open on a follow."""
        rows = await db.fetch(
            "select a.tag_id from assignment a join follow f on f.corp_id = a.corp_id and f.id = a.follow_id"
            " where f.corp_id = $1 and f.userid = $2 and f.external_userid = $3 and f.ended_at is null and a.ended_at is null",
            self.town.corp_id,
            owner,
            customer,
        )
        return {row["tag_id"] for row in rows}

    async def edit_there(self) -> None:
        """Somebody marks, loses or finds a customer inside WeCom."""
        owner, customer, _ = self.dice.choice(FOLLOWS)
        control, pair = self.town.control, {"userid": owner, "external_userid": customer}
        follows = (await control.corp("GET", "/follows"))["follows"]
        there = next((one for one in follows if (one["userid"], one["external_userid"]) == (owner, customer)), None)
        if there is None:
            await self.console("add_contact", **pair)
        elif self.dice.random() < 0.12:
            await self.console("del_contact", **pair, by=self.dice.choice(("employee", "customer", "transfer")))
        else:
            library = await tags_there(self.town)
            held = {library[path] for path in there["tags"]}
            chosen = {self.town.control.tags[one] for one in self.dice.sample(TAGS, self.dice.randint(1, 3))}
            tags = chosen & set(library.values())
            if tags:
                await self.console("mark", **pair, add=sorted(tags - held), remove=sorted(tags & held))

    async def edit_library_there(self) -> None:
        """The console's tags are made, renamed, moved and deleted in the console."""
        there = [
            one for one in await tags_there(self.town) if one.startswith("advice/") and "made" not in one and "named" not in one
        ]
        what, name = self.dice.random(), f"there{self.dice.randrange(10_000)}"
        if what < 0.3 or len(there) < 3:
            await self.console("create_tag", group="advice", name=name)
        elif what < 0.6:
            await self.console("rename_tag", tag=self.dice.choice(sorted(there)), name=name)
        elif what < 0.8:
            await self.console("delete_tag", tag=self.dice.choice(sorted(there)))
        else:
            order = [one.partition("/")[2] for one in await tags_there(self.town) if one.startswith("advice/")]
            self.dice.shuffle(order)
            await self.console("shuffle_tags", group="advice", order=order)

    async def console(self, kind: str, **edit: object) -> None:
        """An edit inside WeCom; its callbacks arrive when they do."""
        await self.town.control.corp("POST", "/console", {"kind": kind, **edit})

    async def move_somebody(self) -> None:
        """The contact administrator moves bob: what he may use moves with him."""
        await self.console("update_user", userid="bob", changes={"department": [self.dice.choice((11, 12, 21))]})

    async def edit_library(self) -> None:
        """A tag made or renamed here; who marks it meanwhile has to wait for its id."""
        admin = self.town.as_("admin")
        mine = await db.fetch(
            "select id from tag where corp_id = $1 and name like 'made%' and deleted_at is null order by id", self.town.corp_id
        )
        if mine and self.dice.random() < 0.4:
            changed = TagChange(name=f"named{self.dice.randint(0, 99)}")
            await catalog.change_tag(admin, self.dice.choice(mine)["id"], changed, "*")
        else:
            await catalog.create_tag(admin, self.town.groups["advice"], TagDraft(f"made{self.dice.randint(0, 99)}"))

    async def spoil_a_call(self) -> None:
        """WeCom, or the way to it, fails: drop, delay, flip."""
        fault: dict[str, Any] = {"api": self.dice.choice(APIS), "times": self.dice.choice((1, 1, 2, 3))}
        if self.dice.random() < 0.1:
            fault |= {"api": "gettoken", "kind": "errcode", "code": -1}
        elif self.dice.random() < 0.4:
            fault |= {"kind": "errcode", "code": self.dice.choice(CODES)}
        else:
            fault |= {"kind": self.dice.choice(BROKEN), "effect": self.dice.random() < 0.5}
            fault["seconds"] = self.dice.choice((0, 0, 0.5, 4, 9.9, 12, 40))
        await self.town.control.fault(**fault)

    async def end_tokens(self) -> None:
        """Tokens expire before their time."""
        await self.town.control.corp("DELETE", "/tokens")

    async def hold_or_deliver(self) -> None:
        """Callbacks are late, and then come in any order."""
        self.mail.holding = not self.mail.holding
        if not self.mail.holding:
            await self.mail.deliver()

    async def ask_for_a_run(self) -> None:
        """Somebody asks for a reading of everything."""
        await sync.request_run(self.town.as_("admin"), self.dice.choice((RunKind.DRIFT, RunKind.CATALOG, RunKind.ORG)))

    async def pause_or_resume(self) -> None:
        """An admin holds back what changes WeCom, or lets it go on."""
        act = sending.pause_sending if self.dice.random() < 0.5 else sending.resume_sending
        await act(self.town.as_("admin"), "a look at WeCom")

    async def jump(self) -> None:
        """The database's clock is set."""
        self.jumps.append(int(self.loop.time() * 1e9))
        await self.loop.jump(self.dice.choice((-90.0, -5.0, 5.0, 90.0)))

    async def step(self) -> None:
        """One thing that happens, and some time."""
        acts = (
            (self.edit_here, 34),
            (self.edit_there, 28),
            (self.spoil_a_call, 14),
            (self.fire, 6),
            (self.hold_or_deliver, 5),
            (self.end_tokens, 3),
            (self.edit_library, 3),
            (self.edit_library_there, 3),
            (self.move_somebody, 2),
            (self.ask_for_a_run, 2),
            (self.pause_or_resume, 2),
            (self.jump, 1),
        )
        act = self.dice.choices([one for one, _ in acts], [weight for _, weight in acts])[0]
        with contextlib.suppress(*NOT_NOW):
            await act()
        self.wake()
        await asyncio.sleep(self.dice.choice(PAUSES))

    async def play(self) -> None:
        """All of it, and then time enough for everything to be put right."""
        await self.town.control.switch(**{name: self.dice.choice(values) for name, values in SWITCHES.items()})
        for _ in range(WORKERS):
            await self.hire()
        for _ in range(STEPS):
            await self.step()
        await self.town.control.corp("DELETE", "/faults")
        await sending.resume_sending(self.town.as_("admin"), "enough")
        self.mail.lose = self.mail.twice = self.mail.spoil = 0.0
        await self.mail.deliver()
        for one in self.victims:
            await one.bury()
        for kind in (RunKind.ORG, RunKind.CATALOG, RunKind.DRIFT, RunKind.DRIFT):
            await self.settle()  # the second reading sees what the first could not judge
            await self.run(kind)
        await self.settle()

    async def run(self, kind: RunKind) -> None:
        """A reading of everything, to its end; one that somebody asked for before ends first."""
        async with asyncio.timeout(SETTLED_WITHIN):
            while (run_id := await self.requested(kind)) is None:
                await asyncio.sleep(2)
            while (row := await repository.run(self.town.corp_id, run_id)) is None or row["finished_at"] is None:
                self.wake()
                await asyncio.sleep(2)
        assert row["state"] == "done", row["problem"]

    async def requested(self, kind: RunKind) -> UUID | None:
        """A run that is new, or None while there is another."""
        try:
            return await sync.request_run(self.town.as_("admin"), kind)
        except RunUnderWay:
            return None

    async def settle(self) -> None:
        """Waits until nothing waits."""
        async with asyncio.timeout(SETTLED_WITHIN):
            while await self.mail.waiting() or self.mail.handled < len(self.mail.letters):
                if (await drift_rows.read_guard(self.town.corp_id))["stopped_at"] is not None:
                    await drift.confirm(self.town.as_("admin"))
                self.wake()
                await asyncio.sleep(2)

    async def end(self) -> None:
        """Nobody works any more."""
        for one in (*self.workers, *self.victims):
            await one.bury()


class VirtualCompanies(Companies):
    """Opens the owner's connections while time passes as everywhere."""

    def __init__(self, owner_url: str, loop: VirtualLoop) -> None:
        super().__init__(owner_url)
        self._loop = loop

    @contextlib.asynccontextmanager
    async def as_owner(self) -> AsyncIterator[None]:
        async with self._loop.jumping(False), super().as_owner():
            yield
        await self._loop.begin_an_hour()


@contextlib.asynccontextmanager
async def a_simulator() -> AsyncIterator[str]:
    """A WeCom in this process, reached over HTTP as ever."""
    server = build_server("127.0.0.1", 0, None)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()  # without `serve`, whose clock ticks ten times a second
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await server.shutdown()


async def play_one(companies: Companies, url: str, loop: VirtualLoop, seed: int) -> str:
    """One game, from the company's first day; returns a digest of when which call arrived, the same for the same game."""
    limits = (CALLS, WINDOW, TIMEOUT)
    dice = random.Random(seed)
    async with a_town(companies, url, people=PEOPLE, customers=FOLLOWS, budget=limits) as town, a_mailbox(town) as mail:
        for approval in await adoption.ask_adoptions(town.as_("east"), ""):
            await town.sign("hq", approval)
        mail.dice, mail.lose, mail.twice, mail.spoil = random.Random(seed), 0.15, 0.25, 0.05
        game = Game(town, mail, loop, dice)
        try:
            await game.play()
        finally:
            await game.end()
        await Ending(town, game.crashes, game.jumps).check()
        calls = await town.control.calls()
        arrivals = [(round((call["at"] - calls[0]["at"]) / 1e9, 3), call["api"], call["code"]) for call in calls]
        return hashlib.sha256(repr(arrivals).encode()).hexdigest()[:8]


async def play_games(loop: VirtualLoop, urls: EmbeddedUrls, first: int, games: int) -> list[int]:
    """The seeds whose game did not end as it must; each with its story on standard error."""
    failed = []
    fence = db.DB.pool = Fence(db.DB.pool)  # type: ignore[assignment]
    loop.busy = fence.busy
    companies = VirtualCompanies(urls.owner, loop)
    async with a_simulator() as url:
        for seed in (WARMING_UP, *range(first, first + games)):
            began, virtually, digest = time.perf_counter(), loop.time(), "failed"
            try:
                digest = await play_one(companies, url, loop, seed)
            except Exception:
                failed.append(seed)
                sys.stderr.write(f"\nseed {seed}\n{traceback.format_exc()}\n")
            took = time.perf_counter() - began
            sys.stdout.write(f"seed {seed}: {loop.time() - virtually:.0f} s in {took:.1f} s, {digest}\n")
            sys.stdout.flush()
    return failed


def main() -> None:
    """Exit code 1 where a game did not end as it must."""
    first, games = map(int, sys.argv[1:3])
    logs.configure("critical", "console")
    failed: list[int] = []

    async def play(loop: VirtualLoop, urls: EmbeddedUrls) -> None:
        failed.extend(await play_games(loop, urls, first, games))

    with tempfile.TemporaryDirectory(prefix="tw-virtual-") as folder:
        virtual.run(play, Path(folder))
    if failed:
        sys.stderr.write(f"TAGWARDEN_SEED={','.join(map(str, failed))}\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
