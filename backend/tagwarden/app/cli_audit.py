"""The audit chain from the command line: verify it, also against heads that left the database; export it; sign heads now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from tagwarden.app import runtime
from tagwarden.app.cli import DATA_DIR, JSON, cli, run, show
from tagwarden.app.witness import heads_file
from tagwarden.audit import export, heads
from tagwarden.audit import service as audit
from tagwarden.audit.export import Format
from tagwarden.audit.heads import HeadSigner, Witnesses
from tagwarden.corps import repository as corps
from tagwarden.kernel import clock
from tagwarden.kernel.settings import Settings

REASONS = {
    "stray": "链首之前有多余的行",
    "missing": "缺行",
    "altered": "内容被改",
    "head": "链头不符",
    "rewritten": "与外部留存的链头不符，链被重写过",
    "cut": "外部留存的链头更长，尾部被截断或恢复了旧备份",
}


@cli.group("audit")
def audit_group() -> None:
    """The audit chain."""


@audit_group.command("verify")
@click.option("--corp", default=None, help="Corp id (default: every corp).")
@click.option(
    "--heads",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Signed heads kept outside, as JSON Lines (default: the file of the settings).",
)
@click.option("--public-key", default=None, help="Ed25519 key that checks them, in base64 (default: this installation's).")
@JSON
@DATA_DIR
def audit_verify(corp: str | None, files: Sequence[Path], public_key: str | None, as_json: bool, data_dir: Path | None) -> None:
    """Walks every link; names the first bad line. Exit 3 when the chain, or a head kept outside, does not hold."""
    found = runtime.resolve(data_dir)
    key = _signer(found).public_key if public_key is None else public_key
    lines = _lines(files or _own_file(found))

    async def work() -> list[dict[str, Any]]:
        async with runtime.as_application(found):
            wanted = [corp] if corp else await corps.corp_ids()
            return [await _verified(one, heads.read_witnesses(lines, key, one)) for one in wanted]

    results = run(work())
    for result in results:
        show(result, as_json, _sentence(result))
    if any(result["first_bad"] is not None or result["forged_heads"] for result in results):
        sys.exit(3)


async def _verified(corp_id: str, witnesses: Witnesses) -> dict[str, Any]:
    verdict = msgspec.to_builtins(await audit.verify(corp_id, witnesses.heads))
    if verdict["first_bad"] is None and witnesses.contradicting is not None:
        verdict |= {"first_bad": witnesses.contradicting, "reason": "rewritten"}
    return {"corp_id": corp_id, **verdict, "heads": len(witnesses.heads), "forged_heads": witnesses.forged}


def _sentence(result: dict[str, Any]) -> str:
    bad = result["first_bad"]
    verdict = "完整" if bad is None else f"第 {bad} 行起不可信（{REASONS.get(result['reason'], result['reason'])}）"
    forged = f"，{result['forged_heads']} 条外部链头签名无效" if result["forged_heads"] else ""
    return f"{result['corp_id']}: {result['lines']} 行，{verdict}，对照 {result['heads']} 个外部链头{forged}"


def _own_file(found: Settings) -> Sequence[Path]:
    own = heads_file(found)
    return [own] if own is not None and own.is_file() else []


def _lines(files: Sequence[Path]) -> list[str]:
    # Read before the chain: a head that leaves meanwhile must not look like one the chain has lost.
    return [line for file in files for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]


@audit_group.command("export")
@click.option("--corp", required=True)
@click.option("--format", "form", type=click.Choice([one.value for one in Format]), default=Format.JSONL.value, show_default=True)
@DATA_DIR
def audit_export(corp: str, form: str, data_dir: Path | None) -> None:
    """Every line, oldest first, as JSON Lines or CSV."""
    found = runtime.resolve(data_dir)

    async def work() -> None:
        async with runtime.as_application(found):
            async for chunk in export.export(corp, Format(form)):
                click.echo(chunk, nl=False)

    run(work())


@audit_group.command("heads")
@DATA_DIR
def audit_heads(data_dir: Path | None) -> None:
    """Signs the head of every corp now and prints it, to be kept elsewhere."""
    found = runtime.resolve(data_dir)
    signer = _signer(found)

    async def work() -> None:
        async with runtime.as_application(found):
            for corp_id in await corps.corp_ids():
                head = await audit.head(corp_id)
                if head is not None:
                    click.echo(msgspec.json.encode(signer.sign(corp_id, *head, clock.now())).decode())

    run(work())


@audit_group.command("key")
@DATA_DIR
def audit_key(data_dir: Path | None) -> None:
    """Prints the public key that checks signed heads."""
    click.echo(_signer(runtime.resolve(data_dir)).public_key)


def _signer(found: Settings) -> HeadSigner:
    if found.secret_key is None:
        raise click.ClickException("TAGWARDEN_SECRET_KEY is not set")
    return HeadSigner(found.secret_key.get_secret_value())
