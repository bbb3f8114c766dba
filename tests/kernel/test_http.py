"""Cursors: what went in comes out, and nothing else does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagwarden.kernel.http import CursorInvalid, decode_cursor, encode_cursor

LOOSE = "letters that are none of base64's are passed over"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_cursor_comes_back_as_it_went(value: str) -> None:
    cursor = encode_cursor(value)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor), "it goes into an address as it is"
    assert decode_cursor(cursor) == value


def test_no_cursor_is_the_first_page() -> None:
    assert decode_cursor(None) is None


@pytest.mark.parametrize(
    "cursor",
    [
        "A",
        "_w",
        "中",
        "AAAAA",
        "Y Q",
        "Y\nQ",
        "!!!!",
        "YQ==YQ==",
        "",
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(cursor)


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    try:
        decode_cursor(text)
    except CursorInvalid:
        return
