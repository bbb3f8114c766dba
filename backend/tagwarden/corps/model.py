"""The tenant's words: its states, who calls, and the refusals every use case shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tagwarden.audit.model import Entry
from tagwarden.kernel.errors import Conflict, Invalid, NotFound, Unavailable


class CorpState(StrEnum):
    SETUP = "setup"
    LIVE = "live"


class PolicySource(StrEnum):
    """Where the policy is written: over HTTP and the command line alike, or in files that are its truth."""

    CONSOLE = "console"
    FILES = "files"


class CorpUnknown(NotFound):
    code = "corp_unknown"
    zh = "找不到该企业"
    en = "No such corp"


class CorpNotLive(Conflict):
    code = "corp_not_live"
    zh = "企业尚未启用，暂时不能修改客户标签，请管理员先执行启用"
    en = "The corp is still in setup: no customer's tag can be changed before an admin activates it"


class CorpNotInSetup(Conflict):
    code = "corp_not_in_setup"
    zh = "企业已启用，该操作只能在配置阶段进行"
    en = "The corp is live; this is possible in setup only"


class WritesSuspended(Conflict):
    code = "writes_suspended"
    zh = "标签写入已暂停，请管理员重新启用企业"
    en = "Tag writes are suspended until the corp is activated again"


class GuardRefused(Conflict):
    code = "guard_refused"
    zh = "数据库保护规则拒绝了该更改"
    en = "The database's own guard refused this change"


class IdempotencyRunning(Conflict):
    code = "idempotency_running"
    zh = "同一 Idempotency-Key 的请求正在处理中"
    en = "A request with this Idempotency-Key is still running"


class IdempotencyMismatch(Invalid):
    code = "idempotency_mismatch"
    zh = "该 Idempotency-Key 已用于内容不同的请求"
    en = "This Idempotency-Key was used with another body"


class Overtaken(Unavailable):
    code = "overtaken"
    zh = "并发更改过于频繁，请重试"
    en = "Too many changes at once overtook this one; try again"


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The key as the client sent it, the route, and the hash of the body it came with."""

    route: str
    key: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Caller:
    """An established identity: `userid` is the person, `act` the machine that acts for that person, if any.

    With `dry_run` a use case does all it would and nothing is kept.
    """

    corp_id: str
    userid: str
    issuer: str
    may_sign: bool = False
    act: str | None = None
    request_id: str = ""
    idempotency: Idempotency | None = None
    dry_run: bool = False

    @property
    def subject(self) -> str:
        return f"{self.userid} act {self.act}" if self.act else self.userid

    def as_actor(self) -> dict[str, Any]:
        """How an audit line names the caller."""
        actor: dict[str, Any] = {"userid": self.userid, "issuer": self.issuer}
        if self.act:
            actor["act"] = self.act
        return actor


@dataclass(frozen=True, slots=True)
class Corp:
    corp_id: str
    name: str
    state: CorpState
    writes_suspended: bool
    time_zone: str
    org_mirrored_at: datetime | None
    policy_source: PolicySource = PolicySource.CONSOLE

    def require_live(self, *, suspended_too: bool = False) -> None:
        """Raises unless customers' tags may be changed now; `suspended_too` for what changes none."""
        if self.state is not CorpState.LIVE:
            raise CorpNotLive()
        if self.writes_suspended and not suspended_too:
            raise WritesSuspended()

    def mirror_is_older_than(self, limit: timedelta, now: datetime) -> bool:
        """Whether the organisation was last mirrored longer ago than `limit`, or never."""
        return self.org_mirrored_at is None or now - self.org_mirrored_at > limit


@dataclass(slots=True)
class Work:
    """What a use case holds while its transaction is open: who, where, when, and what it will leave in the audit."""

    caller: Caller
    corp: Corp
    epoch: int
    now: datetime
    entries: list[Entry] = field(default_factory=list)
    bumped: bool = False

    @property
    def corp_id(self) -> str:
        return self.corp.corp_id

    def record(self, action: str, object: str, decision: dict[str, Any] | None = None, **detail: Any) -> None:
        """Adds one audit line; it is written as the command's last statement."""
        self.entries.append(Entry(action, object, detail, decision))
