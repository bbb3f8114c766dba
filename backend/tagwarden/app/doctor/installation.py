"""Checks of the installation as a whole: settings, database, Redis, jobs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import urlsplit

import asyncpg

from tagwarden.app import asgi
from tagwarden.app.doctor import readings
from tagwarden.app.doctor.model import Finding, Text, attention, broken, listed, ok, span
from tagwarden.kernel import db, migrations
from tagwarden.kernel.redis import RELAY
from tagwarden.kernel.settings import LOOPBACK, Settings

JOBS_LATE = 600.0
TOKEN_VARIABLE = "TAGWARDEN_TOKEN"  # noqa: S105  the variable's name; the command line reads it


def of_settings(found: Settings) -> list[Finding]:
    """What can be said without asking anybody; a value is never repeated, it may be a secret."""
    findings = []
    if found.secret_key is None:
        findings.append(
            broken(
                "settings",
                Text(
                    "没有设置 TAGWARDEN_SECRET_KEY，保存的凭据无法解密",
                    "TAGWARDEN_SECRET_KEY is not set: stored credentials do not open",
                ),
                Text("设置加密凭据时所用的同一个密钥（至少 32 个字符）", "Set the key that sealed them (at least 32 characters)"),
            )
        )
    if not found.issuers:
        findings.append(
            broken(
                "settings",
                Text("没有设置 TAGWARDEN_ISSUERS，任何令牌都会被拒绝", "TAGWARDEN_ISSUERS is not set: every token is refused"),
                Text(
                    "按 README“嵌入 CRM”一节填写签发方的公钥",
                    "Name the issuers and their keys, see “How a CRM embeds it” in the README",
                ),
            )
        )
    base = urlsplit(found.wecom_api_base)
    if base.scheme != "https" and base.hostname not in (*LOOPBACK, "::1"):
        findings.append(
            attention(
                "settings",
                Text(
                    "TAGWARDEN_WECOM_API_BASE 不是 https，令牌会明文传输",
                    "TAGWARDEN_WECOM_API_BASE is not https: tokens travel in clear",
                ),
                Text("改为 https 地址", "Name an https address"),
            )
        )
    if strangers := _strangers(os.environ):
        findings.append(
            attention(
                "settings",
                Text("没有这样的配置项，未起作用：{names}", "No such settings, and without effect: {names}"),
                Text(
                    "核对名称（见 deploy/env.example），或移除",
                    "Check their names (deploy/env.example lists all), or take them out",
                ),
                names=listed(strangers),
            )
        )
    return findings or [ok("settings", Text("配置有效", "The settings are valid"))]


def _strangers(environment: Iterable[str]) -> list[str]:
    """Names that were meant for us and are none of ours: mostly a slip of the pen."""
    prefix = Settings.model_config.get("env_prefix", "")
    known = {f"{prefix}{name.upper()}" for name in Settings.model_fields} | {TOKEN_VARIABLE}
    return sorted(name for name in environment if name.upper().startswith(prefix) and name.upper() not in known)


def database_away(error: Exception) -> Finding:
    """The database did not let us in."""
    cause = error.__cause__ or error
    if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith("28"):
        return broken(
            "database",
            Text("数据库拒绝登录（{why}）", "The database refuses the login ({why})"),
            Text(
                "核对 TAGWARDEN_DATABASE_URL 中应用角色的用户名与密码，以及 pg_hba.conf",
                "Check user and password of the application's role in TAGWARDEN_DATABASE_URL, and pg_hba.conf",
            ),
            why=type(cause).__name__,
        )
    if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith("42"):
        return broken(
            "database",
            Text("数据库拒绝了应用角色的读取（{why}）", "The database refuses what the application's role has to read ({why})"),
            Text(
                "以属主角色运行 tagwarden db upgrade：它会重新授予应用角色（TAGWARDEN_DATABASE_URL 中的用户）应有的权限",
                "Run `tagwarden db upgrade` as the owner role: it gives the application's role, the user in"
                " TAGWARDEN_DATABASE_URL, its rights anew",
            ),
            why=type(cause).__name__,
        )
    return broken(
        "database",
        Text("无法连接数据库（{why}）", "The database cannot be reached ({why})"),
        Text(
            "确认 PostgreSQL 正在运行，TAGWARDEN_DATABASE_URL 的主机、端口与库名正确，网络可达",
            "See that PostgreSQL runs, that host, port and name in TAGWARDEN_DATABASE_URL are right, and the network leads there",
        ),
        why=type(cause).__name__,
    )


async def of_database() -> list[Finding]:
    """Who we are there, and whether its tables are those of this code."""
    findings = [
        ok(
            "database",
            Text("数据库可用（PostgreSQL {version}）", "The database answers (PostgreSQL {version})"),
            version=await _server(),
        )
    ]
    if await asgi.is_owner():
        findings.append(
            broken(
                "database.role",
                Text(
                    "TAGWARDEN_DATABASE_URL 使用了属主角色，serve 与 worker 会拒绝启动",
                    "TAGWARDEN_DATABASE_URL names the owner role: serve and worker refuse to start",
                ),
                Text(
                    "换成应用角色；属主角色只放在 TAGWARDEN_MIGRATION_DATABASE_URL",
                    "Name the application's role; the owner's belongs in TAGWARDEN_MIGRATION_DATABASE_URL alone",
                ),
            )
        )
    else:
        findings.append(ok("database.role", Text("以应用角色连接", "Connected as the application's role")))
    return findings


async def _server() -> str:
    return str(await db.fetch_value("select current_setting('server_version') as version")).split()[0]


async def of_migrations() -> Finding:
    """Whether `db upgrade` has something to do."""
    if steps := await migrations.pending():
        return broken(
            "database.migrations",
            Text("有 {count} 个迁移尚未执行：{steps}", "{count} migrations have not run: {steps}"),
            Text(
                "以属主角色运行 tagwarden db upgrade，再运行一次 doctor",
                "Run `tagwarden db upgrade` as the owner role, then doctor again",
            ),
            count=len(steps),
            steps=listed(steps),
        )
    return ok("database.migrations", Text("数据库结构是最新版本", "The database is up to date"))


async def of_redis(found: Settings, serves: int | None) -> Finding:
    """Reached where it is set, and set where several processes serve; `serves` is None where nobody could be counted."""
    if found.redis_url is None:
        return _without_redis(serves)
    try:
        RELAY.open(found.redis_url.get_secret_value())
        reached = await RELAY.answers()
    except ValueError:
        reached = False
    finally:
        await RELAY.close()
    if reached:
        return ok("redis", Text("Redis 可用", "Redis answers"))
    return broken(
        "redis",
        Text(
            "无法连接 Redis：唤醒与进度变慢，每个进程各自限流",
            "Redis cannot be reached: wake-ups are slow, each process limits by itself",
        ),
        Text(
            "确认 Redis 正在运行，TAGWARDEN_REDIS_URL 的地址与密码正确。数据不会丢失",
            "See that Redis runs and that address and password in TAGWARDEN_REDIS_URL are right. Nothing is lost meanwhile",
        ),
    )


def _without_redis(serves: int | None) -> Finding:
    if serves is not None and serves > 1:
        return broken(
            "redis",
            Text(
                "有 {serves} 个 serve 进程在运行，但没有设置 TAGWARDEN_REDIS_URL",
                "{serves} serve processes run, and TAGWARDEN_REDIS_URL is not set here",
            ),
            Text(
                "为每个 serve 与 worker 设置同一个 TAGWARDEN_REDIS_URL，或只运行一个 serve",
                "Set the same TAGWARDEN_REDIS_URL for every serve and worker, or run one serve only",
            ),
            serves=serves,
        )
    return ok(
        "redis", Text("没有设置 Redis，只有一个 serve 时不需要", "Redis is not set, and not needed while one process serves")
    )


# -- jobs ---------------------------------------------------------------------------------------------------------------


async def of_jobs() -> Finding:
    """Jobs that were held after a failure, and jobs nobody takes."""
    found = await readings.jobs()
    if found.oldest_due > JOBS_LATE:
        return broken(
            "jobs",
            Text("有任务已等待 {waited} 无人处理", "A job that is due has waited for {waited}"),
            Text(
                "确认 worker 正在运行；若在运行，查看其日志中的 jobs.restarted",
                "See that a worker runs; if one does, look for jobs.restarted in its log",
            ),
            waited=span(found.oldest_due),
        )
    if found.failed:
        return attention(
            "jobs",
            Text("最近七天有任务失败：{names}", "Jobs failed within the last seven days: {names}"),
            Text(
                "查看 worker 日志中失败的原因；导入任务可以重新发起：tagwarden import",
                "Look at the worker's log for the reason; an import can be asked for again: `tagwarden import`",
            ),
            names=listed(f"{name} ×{count}" for name, count in found.failed.items()),
        )
    return ok("jobs", Text("没有失败或滞留的任务", "No job failed or is stuck"))
