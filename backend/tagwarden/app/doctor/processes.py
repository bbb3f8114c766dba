"""Checks of the processes that should live, by their heartbeats, and of everybody's clocks beside the database's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from tagwarden.app.doctor import readings
from tagwarden.app.doctor.model import Finding, Text, attention, broken, listed, ok, span
from tagwarden.app.doctor.readings import Process
from tagwarden.app.heartbeat import DEAD_AFTER

CLOCK_APART = 5.0
"""Seconds between two clocks that are worth a word: a token of the other clock may be refused from there on."""
CLOCK_BROKEN = 60.0
FIRST_BEAT_LATE = 30.0
"""Seconds by which a process seems behind when the database was away at its first beat."""


def alive_of(everybody: Sequence[Process]) -> list[Process]:
    """Those heard of lately."""
    return [one for one in everybody if one.silent <= DEAD_AFTER]


def of_processes(everybody: Sequence[Process]) -> list[Finding]:
    """Somebody serves, somebody works, nobody fell silent unnoticed, all run the same version."""
    alive = alive_of(everybody)
    findings = [_role(role, [one for one in alive if one.role == role]) for role in ("serve", "worker")]
    if silent := _unreplaced(everybody, alive):
        findings.append(
            attention(
                "processes.silent",
                Text("{count} 个进程没有道别就沉默了：{who}", "{count} processes fell silent without a farewell: {who}"),
                Text(
                    "它们被强制结束、失去网络或卡住了；查看那台机器的日志，确认是否需要重新启动",
                    "They were killed, cut off or hang: look at that machine's logs, and start them again if they should run",
                ),
                count=len(silent),
                who=listed(f"{one}（{span(one.silent)}）" for one in silent),
            )
        )
    return [*findings, _versions(alive), *_clocks_of(alive)]


def _role(role: str, alive: Sequence[Process]) -> Finding:
    check = f"processes.{role}"
    if alive:
        return ok(check, Text("{count} 个 {role} 进程在运行", "{count} {role} running"), count=len(alive), role=role)
    needed = {
        "serve": Text("没有 serve 进程在运行：无人能使用本服务", "No serve runs: nobody can use the service"),
        "worker": Text("没有 worker 进程在运行：更改不会到达企业微信", "No worker runs: no change reaches WeCom"),
    }
    todo = Text(
        "启动 tagwarden {role}（systemd、compose 或 Kubernetes 中的相应服务），并查看它的日志",
        "Start `tagwarden {role}` (its service in systemd, compose or Kubernetes), and look at its log",
    )
    return broken(check, needed[role], todo, role=role)


def _unreplaced(everybody: Sequence[Process], alive: Sequence[Process]) -> list[Process]:
    """Silent ones whose place no younger process of that role has taken on the same machine."""
    return [
        one
        for one in everybody
        if one.silent > DEAD_AFTER
        and not any((other.role, other.host) == (one.role, one.host) and other.age < one.age for other in alive)
    ]


def _versions(alive: Sequence[Process]) -> Finding:
    here = version("tagwarden")
    found = sorted({one.version for one in alive} | {here})
    if len(found) == 1:
        return ok(
            "processes.version",
            Text("所有进程与本命令同为 {version} 版", "All processes and this command are version {version}"),
            version=here,
        )
    return attention(
        "processes.version",
        Text(
            "同时运行着不同的版本：{versions}（本命令 {here}）",
            "Different versions run at once: {versions} (this command: {here})",
        ),
        Text("完成升级：重新启动旧版本的进程：{who}", "Finish the upgrade: restart the processes of the other versions: {who}"),
        versions=listed(found),
        here=here,
        who=listed(f"{one} ({one.version})" for one in alive if one.version != here) or "-",
    )


# -- clocks -------------------------------------------------------------------------------------------------------------


def _clocks_of(alive: Sequence[Process]) -> list[Finding]:
    apart = [one for one in alive if one.ahead > CLOCK_APART or one.ahead < -FIRST_BEAT_LATE]
    return [_clock("clock.processes", str(one), one.ahead) for one in apart]


async def of_clock() -> Finding:
    """This machine's clock beside the database's."""
    ahead = await readings.seconds_ahead()
    if abs(ahead) > CLOCK_APART:
        return _clock("clock", "doctor", ahead)
    return ok("clock", Text("本机与数据库的时钟一致", "The clocks of this machine and the database agree"))


def _clock(check: str, who: str, ahead: float) -> Finding:
    say = broken if abs(ahead) > CLOCK_BROKEN else attention
    return say(
        check,
        Text(
            "{who} 的时钟与数据库相差 {apart}（{which}）：令牌与回调可能被误拒",
            "The clock of {who} is {apart} off the database's ({which}): tokens and callbacks may be refused",
        ),
        Text(
            "在每台机器上启用时间同步（chrony 或 systemd-timesyncd）", "Keep time on every machine (chrony or systemd-timesyncd)"
        ),
        who=who,
        apart=span(abs(ahead)),
        which="+" if ahead > 0 else "-",
        seconds=round(ahead, 1),
    )
