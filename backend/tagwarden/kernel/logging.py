"""Structured logs on standard error: one line an event, ours and the libraries' alike, as JSON or for a console.

A line holds what its call site passes: ids, codes, counts, durations. Never bodies, headers, query strings, names or
tokens. An exception is told by its type and its place, never by its message, because that may quote what a caller sent.
As a last net, whatever looks like a mobile number, a token or the password of a URL is blacked out of the finished line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from pathlib import PurePath
from typing import Any

import structlog
from structlog.typing import Processor

Event = MutableMapping[str, Any]

LONGEST_FOREIGN_TEXT = 200
MOST_FRAMES = 20
MASK = "***"
_ELEVEN_DIGITS = re.compile(r"1[3-9]\d{9}")
_OWN = "tagwarden"
_VALUE = re.compile(r"[\n(<{'\"]")
_MASKED = re.compile(
    r"(?<![0-9A-Za-z])(?:\+?86[- ]?)?1[3-9]\d{9}(?![0-9A-Za-z])"  # a mobile number; no part of a UUID looks like it
    r"|eyJ[\w-]{8,}(?:\.[\w-]+){0,2}"  # a JSON web token begins with the base64 of `{"`
    r"|(?<=://)[^\s/@\"]+(?=@)"  # user and password of a URL
)


def configure(level: str, fmt: str) -> None:
    """Sends every line of this process through one renderer; `fmt` is `json` or `console`.

    Of the libraries (uvicorn, aiohttp, pgqueuer, asyncio, …) only warnings and worse are told.
    """
    least: int = getattr(logging, level.upper())
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [_tell_exception, _Line(fmt)]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, _tell_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    quiet = max(least, logging.WARNING)
    logging.basicConfig(handlers=[handler], level=quiet, force=True)
    logging.getLogger(_OWN).setLevel(least)
    # uvicorn asks for its own logger's level before it formats a line for every connection.
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a line that cannot be written would print its arguments


class _Line:
    """Renders an event and blacks out what must never be in it."""

    def __init__(self, fmt: str) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=False) if fmt == "console" else _json

    def __call__(self, logger: Any, method: str, event: Event) -> str:
        line = self._render(logger, method, event)
        if "eyJ" in line or "://" in line or _ELEVEN_DIGITS.search(line):  # ten times cheaper than to look closely
            return _MASKED.sub(MASK, line)
        return line


_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)  # takes any text, lone surrogates too


def _json(_: Any, __: str, event: Event) -> str:
    return _ENCODER.encode(event)


def _tell_library(_: Any, __: str, event: Event) -> Event:
    """A library's text without what it filled in: asyncio and others show values that they were holding."""
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if not record.name.startswith(_OWN):
        template = str(record.msg)
        event["event"] = _VALUE.split(event["event"] if template == "%s" else template)[0].strip()[:LONGEST_FOREIGN_TEXT]
    return event


def _tell_exception(_: Any, __: str, event: Event) -> Event:
    """Replaces `exc_info` by types and places, the cause after what it caused."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else None
    if given is True:
        error = sys.exc_info()[1]
    if error is not None:
        event["raised"] = [_told(one) for one in _chain(error)]
    return event


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _told(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    told: dict[str, Any] = {"type": type(error).__qualname__, "at": [_place(frame) for frame in frames]}
    # What PostgreSQL says about itself is safe; the row it quotes in its message is not.
    told |= {name: value for name in ("sqlstate", "constraint_name") if (value := getattr(error, name, None))}
    if isinstance(error, BaseExceptionGroup):
        told["of"] = [type(one).__qualname__ for one in error.exceptions]
    return told


def _place(frame: traceback.FrameSummary) -> str:
    return f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}"
