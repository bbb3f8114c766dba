"""The command line. Writes carry a token and pass the same services as HTTP; only `db`, `corp add` and `token issue` act
as operator. Exit codes: 0 ok, 1 failed, 2 usage, 3 differences found.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from tagwarden.app import runtime
from tagwarden.app.asgi import sealer_of, verifier_of
from tagwarden.corps.credentials import CONTACTS_APP, CUSTOMER_APP, AppCredential
from tagwarden.governance import operator as operators
from tagwarden.governance import service as governance
from tagwarden.kernel import logging as logs
from tagwarden.kernel import settings
from tagwarden.kernel.embedded import EmbeddedPostgres, EmbeddedUnavailable
from tagwarden.kernel.errors import TagwardenError

DATA_DIR = click.option(
    "--data", "data_dir", type=click.Path(path_type=Path), default=None, help="Data folder of an embedded installation."
)
TOKEN = click.option("--token", default=None, help="Token of the caller (else TAGWARDEN_TOKEN).")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tagwarden")
def cli() -> None:
    """Tagwarden (标签卫士): governed customer tags for WeCom."""


def main() -> NoReturn:
    """Runs the command line; refusals are one sentence and exit 1."""
    from tagwarden.app import (  # noqa: F401  registers the commands
        cli_admin,
        cli_agreements,
        cli_approvals,
        cli_audit,
        cli_corp,
        cli_doctor,
        cli_library_wecom,
        cli_policy,
        cli_policy_ask,
        cli_policy_change,
        cli_policy_check,
        cli_run,
        cli_sending,
        cli_sync,
        cli_tag_groups,
        cli_tags,
    )

    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (TagwardenError, EmbeddedUnavailable) as error:
        click.echo(sentence(error), err=True)
        sys.exit(1)
    sys.exit(0)


def sentence(error: Exception) -> str:
    """A line for a person, both languages, with the code; what an error lists stands below it."""
    if isinstance(error, TagwardenError):
        items = [one for one in error.facts.get("items", []) if "zh" in one and "en" in one]
        listed = [f"  [{one['code']}] {_place(one)}{one['zh']} / {one['en']}" for one in items] if len(items) > 1 else []
        return "\n".join([f"{error.text('zh')} / {error.text('en')} [{error.code}]", *listed])
    return f"{error} [{getattr(error, 'code', 'failed')}]"


def _place(item: dict[str, Any]) -> str:
    return f"{item['where']}：" if "where" in item else ""


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs one command's work, on uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints for a machine or for a person."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode() if as_json else text)


# -- operator -----------------------------------------------------------------------------------------------------------


@cli.group("db")
def db_group() -> None:
    """The database (as the owner role)."""


@db_group.command("upgrade")
@DATA_DIR
def db_upgrade(data_dir: Path | None) -> None:
    """Runs pending migrations: locked, in one transaction."""
    steps = run(runtime.upgrade(runtime.resolve(data_dir)))
    click.echo(f"已升级：{', '.join(steps)}" if steps else "已是最新")


@cli.group("token")
def token_group() -> None:
    """Tokens of the installation's own issuer (operator)."""


@token_group.command("issue")
@click.option("--corp", required=True, help="Corp id.")
@click.option("--user", required=True, help="userid of the person, as WeCom calls him now.")
@click.option("--hours", default=12, show_default=True, type=click.IntRange(1, 24 * 30))
@click.option("--issuer", default=settings.LOCAL_ISSUER, show_default=True)
@DATA_DIR
def token_issue(corp: str, user: str, hours: int, issuer: str, data_dir: Path | None) -> None:
    """Signs a token for one person. Whether that person may do anything is not said by it."""
    found = runtime.resolve(data_dir)
    try:
        click.echo(verifier_of(found).issue(issuer, corp, user, seconds=hours * 3600))
    except KeyError:
        raise click.ClickException(f"no signing key for issuer {issuer}") from None


@cli.group("corp")
def corp_group() -> None:
    """Tenants."""


@corp_group.command("add")
@click.option("--corp", required=True, help="WeCom corp id.")
@click.option("--name", required=True)
@click.option("--admin", required=True, help="userid of the first admin.")
@click.option("--issuer", default=settings.LOCAL_ISSUER, show_default=True, help="Issuer of tokens bound to this corp.")
@click.option("--may-sign/--may-not-sign", default=False, help="Whether tokens of that issuer may sign approvals.")
@click.option("--time-zone", default="Asia/Shanghai", show_default=True)
@click.option(
    "--credentials", type=click.File("r"), required=True, help="JSON: [{app, agent_id, secret, token, aes_key}], or - for stdin."
)
@DATA_DIR
def corp_add(
    corp: str, name: str, admin: str, issuer: str, may_sign: bool, time_zone: str, credentials: Any, data_dir: Path | None
) -> None:
    """Adds a tenant in `setup`, with its WeCom credentials and first admin (operator, as the owner role)."""
    apps = [_credential(corp, entry) for entry in msgspec.json.decode(credentials.read())]
    found = runtime.resolve(data_dir)
    new = operators.NewCorp(corp, name, admin, issuer, may_sign, time_zone)

    async def work() -> None:
        async with runtime.as_owner(found):
            await operators.add_corp(sealer_of(found), new, apps)

    run(work())
    click.echo(f"已添加企业 {corp}（配置中），管理员 {admin}")


def _credential(corp: str, entry: dict[str, Any]) -> AppCredential:
    if entry.get("app") not in (CUSTOMER_APP, CONTACTS_APP):
        raise click.UsageError(f"app is {CUSTOMER_APP} or {CONTACTS_APP}")
    return AppCredential(corp, entry["app"], entry.get("agent_id"), entry["secret"], entry.get("token"), entry.get("aes_key"))


@corp_group.command("credentials")
@click.option(
    "--credentials", type=click.File("r"), required=True, help="JSON: [{app, agent_id, secret, token, aes_key}], or - for stdin."
)
@TOKEN
@DATA_DIR
def corp_credentials(credentials: Any, token: str | None, data_dir: Path | None) -> None:
    """Replaces the WeCom credentials of the apps named and lifts their stops (an admin's token)."""
    entries = msgspec.json.decode(credentials.read())
    found = runtime.resolve(data_dir)

    async def work() -> list[str]:
        async with runtime.as_application(found):
            caller = await runtime.caller_of(found, token)
            apps = [_credential(caller.corp_id, entry) for entry in entries]
            return [await governance.put_credentials(caller, sealer_of(found), app) for app in apps]

    click.echo(f"已保存应用凭据：{'、'.join(run(work()))}")


@corp_group.command("recover")
@click.option("--corp", required=True)
@click.option("--supervisor", required=True, help="userid of an active employee who is to sign level 2 again.")
@click.option("--reason", required=True, help="Why; its hash is kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; change nothing.")
@DATA_DIR
def corp_recover(corp: str, supervisor: str, reason: str, dry_run: bool, data_dir: Path | None) -> None:
    """Helps a corp that lost its signers: adds a supervisor, suspends tag writes until `corp activate` (operator, owner role)."""
    found = runtime.resolve(data_dir)

    async def work() -> None:
        async with runtime.as_owner(found):
            await operators.recover(corp, supervisor, reason, dry_run=dry_run)

    run(work())
    if dry_run:
        click.echo(f"检查通过：将把 {supervisor} 设为主管，并暂停企业 {corp} 的标签写入，直到重新启用")
        return
    click.echo(f"{supervisor} 已是主管；企业 {corp} 的标签写入已暂停，请管理员重新执行 tagwarden corp activate")


def embedded(data_dir: Path | None) -> tuple[settings.Settings, EmbeddedPostgres | None]:
    """Settings with a running database: the configured one, or an embedded one started by this process."""
    found = settings.load(data_dir=data_dir)
    if not found.embedded:
        return found, None
    server = EmbeddedPostgres(found.data_dir)
    return runtime.with_embedded(found, server.start()), server


def configure_logs(found: settings.Settings) -> None:
    """Logging as the settings say."""
    logs.configure(found.log_level, found.log_format)
