"""The doctor's round, in the order in which one thing stands on another; a check that cannot be made is a finding too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence

import asyncpg

from tagwarden.app.asgi import sealer_of
from tagwarden.app.doctor import corps, installation, organisation, processes, readings, traffic
from tagwarden.app.doctor.model import Finding, Text, attention, broken
from tagwarden.corps import repository
from tagwarden.corps.model import CorpUnknown
from tagwarden.kernel import db
from tagwarden.kernel.errors import TagwardenError
from tagwarden.kernel.settings import Settings
from tagwarden.policy import service as policy

FAILURES = (TagwardenError, asyncpg.PostgresError, *db.GONE)
Findings = list[Finding]


async def examine(found: Settings, only: str | None) -> Findings:
    """Every check, over every corp or one; CorpUnknown where that one is not there."""
    findings = installation.of_settings(found)
    try:
        async with _reading(found):
            async for finding in _round(found, only):
                findings.append(finding)
    except CorpUnknown:
        raise
    except FAILURES as error:
        findings.append(installation.database_away(error))
        if not any(finding.check == "redis" for finding in findings):
            findings.append(await installation.of_redis(found, None))
    return findings


@contextlib.asynccontextmanager
async def _reading(found: Settings) -> AsyncIterator[None]:
    """The database as the application's role, in sessions that refuse every write."""
    url = found.database_url.get_secret_value() if found.database_url else ""
    await db.DB.open(f"{url}{'&' if '?' in url else '?'}default_transaction_read_only=on", size=4)
    try:
        yield
    finally:
        policy.forget()
        await db.DB.close()


async def _round(found: Settings, only: str | None) -> AsyncIterator[Finding]:
    for finding in await installation.of_database():
        yield finding
    behind = await installation.of_migrations()
    yield behind
    if behind.todo.en:  # tables may be missing: the rest comes after the upgrade
        yield await installation.of_redis(found, None)
        return
    everybody = await readings.processes()
    yield await installation.of_redis(found, sum(one.role == "serve" for one in processes.alive_of(everybody)))
    for finding in processes.of_processes(everybody):
        yield finding
    yield await processes.of_clock()
    yield await installation.of_jobs()
    async for finding in _corps(found, only):
        yield finding


async def _corps(found: Settings, only: str | None) -> AsyncIterator[Finding]:
    known = await repository.corp_ids()
    if only is not None and only not in known:
        raise CorpUnknown()
    if not known:
        yield attention(
            "corps", Text("还没有企业", "There is no corp yet"), Text("运行 tagwarden corp add", "Run `tagwarden corp add`")
        )
        return
    for corp_id in [only] if only else known:
        for finding in await of_corp(found, corp_id):
            yield finding
    if only is None:
        for finding in await _unbound(found, known):
            yield finding


async def of_corp(found: Settings, corp_id: str) -> Findings:
    """Every check of one corp."""
    corp = await readings.corp(corp_id)
    if corp is None:
        raise CorpUnknown()

    async def of_people() -> Findings:
        picture = await policy.current(corp_id)
        directory = picture.directory
        named = [issuer.issuer for issuer in found.issuers]
        signers = organisation.of_signers(corp, directory, await readings.owners(corp_id))
        return [*signers, *organisation.of_subadmins(corp_id, picture), *corps.of_issuers(corp, directory, named)]

    findings = [corps.of_state(corp), organisation.of_mirror(corp)]
    if found.secret_key is not None:
        findings += await _tried("corp.credentials", corp_id, corps.of_credentials(sealer_of(found), corp_id))
    findings += await _tried("corp.groups", corp_id, organisation.of_groups(corp_id))
    findings += await _tried("corp.library", corp_id, organisation.of_library(corp_id))
    findings += await _tried("corp.policy", corp_id, of_people())
    findings += await _tried("corp.outbox", corp_id, traffic.of_outbox(corp_id))
    findings += await _tried("corp.cards", corp_id, traffic.of_cards(corp_id))
    findings += await _tried("corp.credential_check", corp_id, traffic.of_credential_checks(corp_id))
    findings += await _tried("corp.runs", corp_id, traffic.of_runs(corp_id))
    findings += await _tried("corp.callbacks", corp_id, traffic.of_callbacks(corp_id))
    findings += await _tried("corp.drift", corp_id, traffic.of_drift(corp_id))
    findings += await _tried("corp.audit", corp_id, corps.of_audit(corp_id))
    return findings


async def _tried(check: str, corp_id: str, look: Awaitable[Sequence[Finding]]) -> Findings:
    """The findings, or one that says the look itself failed: what is behind it is not known then."""
    try:
        return list(await look)
    except db.DatabaseUnavailable:
        raise
    except TagwardenError as error:
        text, facts = Text("{zh}", "{en}"), {"zh": error.text("zh"), "en": error.text("en"), "code": error.code}
    except FAILURES as error:
        text, facts = Text("无法检查（{why}）", "Could not be looked at ({why})"), {"why": type(error).__name__}
    return [broken(check, text, Text("查看 serve 的日志", "Look at the log of serve"), corp_id, **facts)]


async def _unbound(found: Settings, known: Sequence[str]) -> Findings:
    """Issuers of the settings that no corp accepts."""
    bound: set[str] = set()
    for corp_id in known:
        with contextlib.suppress(TagwardenError):
            bound |= (await policy.current(corp_id)).directory.issuers
    return [
        attention(
            "issuers",
            Text(
                "配置中的签发方 {name} 没有绑定任何企业，其令牌都会被拒绝",
                "Issuer {name} of the settings is bound to no corp: its tokens are refused",
            ),
            Text(
                "用 corp add --issuer 绑定，或从 TAGWARDEN_ISSUERS 中移除",
                "Bind it with `corp add --issuer`, or take it out of TAGWARDEN_ISSUERS",
            ),
            name=issuer.issuer,
        )
        for issuer in found.issuers
        if issuer.issuer not in bound
    ]
