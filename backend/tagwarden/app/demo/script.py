"""The telling itself: one line a step, what was tried, expected and seen; ends at the first step not as expected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tagwarden.app.demo.people import Answer, People, Wecom
from tagwarden.app.demo.sample import Sample


class StoryFailed(Exception):
    """A step came out otherwise than expected."""


@dataclass
class Stage:
    """Everything a chapter needs: people, WeCom, the company, the tag library's ids, and the line printer."""

    people: People
    wecom: Wecom
    company: Sample
    console: Console
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    chapter: int = 0
    steps: int = 0
    used: set[str] = field(default_factory=set)
    changes: list[str] = field(default_factory=list)

    async def learn_library(self) -> None:
        """Reads groups and tags as the admin sees them."""
        answer = await self.people.call("admin", "GET", "/v1/tag-groups/")
        self.groups = {group["name"]: group for group in answer.body["items"]}

    def tag(self, path: str) -> str:
        """The id of a tag written as "group/tag"."""
        group, _, name = path.partition("/")
        return next(str(tag["id"]) for tag in self.groups[group]["tags"] if tag["name"] == name)

    def group(self, name: str) -> str:
        """The id of a group."""
        return str(self.groups[name]["id"])

    def own_customer(self, userid: str, *, alone: bool = True) -> str:
        """A customer of an employee that no chapter used yet, without tags in WeCom; `alone`: followed by nobody else."""
        marked = self.company.marked()
        shared = {one["external_userid"] for one in self.company.company["extra_follows"]}
        for customer in self.company.customers_of(userid):
            if customer not in self.used and customer not in marked and not (alone and customer in shared):
                self.used.add(customer)
                return customer
        raise StoryFailed(f"{userid} has no customer left")

    def begin(self, title: str) -> None:
        """Announces a chapter."""
        self.chapter += 1
        self.steps = 0
        self.console.print(f"\n[bold]{self.chapter}. {title}[/bold]")

    def step(self, tried: str, expected: Any, seen: Any) -> None:
        """One readable line; StoryFailed when what was seen is not what was expected."""
        self.steps += 1
        good = expected == seen
        sign = "[green]ok[/green]" if good else "[red]NO[/red]"
        line = f"{self.chapter}.{self.steps} {tried} | expected {_short(expected)} | seen {_short(seen)}"
        self.console.print(f"  {sign} {escape(line)}")
        if not good:
            raise StoryFailed(f"{self.chapter}.{self.steps} {tried}: expected {expected!r}, seen {seen!r}")

    def status(self, tried: str, answer: Answer, expected: int, code: str = "") -> None:
        """A step about an answer's status and, where one is named, its code."""
        seen = f"{answer.status} {answer.code}".strip() if code or answer.status >= 400 else str(answer.status)
        self.step(tried, f"{expected} {code}".strip(), seen)

    async def until(self, tried: str, expected: Any, look: Callable[[], Awaitable[Any]], seconds: float = 30.0) -> None:
        """A step about something that becomes true within a time."""
        end = time.monotonic() + seconds
        seen = await look()
        while seen != expected and time.monotonic() < end:
            await asyncio.sleep(0.2)
            seen = await look()
        self.step(tried, expected, seen)

    async def heard(self, since: int, customer: str) -> list[dict[str, Any]]:
        """`mark_tag` bodies about one customer since a moment."""
        return [call["body"] for call in await self.wecom.marks(since) if call["body"]["external_userid"] == customer]

    async def wait_for_sync(self, title: str, total: int) -> None:
        """A progress bar until nothing waits any more."""
        columns = (TextColumn("     {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as bars:
            bar = bars.add_task(title, total=total)
            end = time.monotonic() + 150
            while time.monotonic() < end:
                waiting = (await self.people.call("admin", "GET", "/v1/sync/status")).body["waiting"]
                bars.update(bar, completed=max(0, total - waiting))
                if waiting == 0:
                    return
                await asyncio.sleep(0.3)
        raise StoryFailed("changes did not reach WeCom in time")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 110 else f"{text[:107]}..."
