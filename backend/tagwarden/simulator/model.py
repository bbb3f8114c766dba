"""The rules WeCom follows, apart from storage and HTTP: names, per-follow tag sets, ownership, rolling windows.

What the documentation says is written as code; what it leaves open, or gives as a number that may be tuned, is a field
of `Switches`, with the value that is hardest on a client as its default. This file must stay pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tagwarden.simulator import errcodes

MAX_NAME_LENGTH = 30  # path/92117: group_name and tag.name
MAX_ORDER = 2**32  # path/92117: [0, 2^32)
_USERID = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


class Refused(Exception):
    """A call that WeCom answers with a code other than 0."""

    def __init__(self, code: int, hint: str = "") -> None:
        super().__init__(f"{code} {hint}".strip())
        self.code = code
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Switches:
    """How this WeCom behaves where the documentation is silent, and the documented numbers a test may shrink."""

    # -- not confirmed by any official page; careful by default --
    name_length_unit: Literal["utf16", "code_points"] = "utf16"
    long_name_code: int = errcodes.BAD_NAME_LENGTH
    max_groups: int = 3000
    max_tags_per_add: int = 1000
    max_tags_per_mark: int = 1000
    mark_atomic: bool = True
    repeat_mark_code: int = errcodes.OK
    mark_in_both_lists: Literal["refuse", "add", "remove"] = "refuse"
    foreign_tag_code: int = errcodes.NOT_YOUR_TAG
    foreign_group_accepts_tags: bool = True
    edit_moves: bool = True
    add_answers_whole_group: bool = False
    gettoken_repeats_token: bool = True
    new_token_ends_old: bool = False
    list_without_customers_code: int = errcodes.OK
    batch_accepts_single_userid: bool = False
    apps_receive_contact_events: bool = False
    callback_retry_seconds: float = 0.5
    callback_retry_repeats_nonce: bool = True
    parallel_calls: int = 100
    wrong_secrets_per_hour: int = 5
    other_corps_secret_code: int = errcodes.WRONG_SECRET
    cards_need_callback_url: bool = True
    card_field_code: int = errcodes.BAD_PARAMETER
    closed_cards_take_clicks: bool = False
    cursor_stands_still: bool = False

    # -- documented, or a matter of the network --
    token_seconds: int = 7200
    trusted_ips: tuple[str, ...] | None = None
    calls_per_minute: int = 10_000
    calls_per_hour: int = 150_000
    max_corp_tags: int = 10_000
    max_tags_on_customer: int = 3000
    followers_a_page: int = 500
    mark_seconds: float = 0.02
    callback_timeout_seconds: float = 5.0
    callback_attempts: int = 3
    messages_per_member_minute: int = 30
    debug_calls_per_minute: int = 5
    response_code_seconds: int = 72 * 3600
    callback_ips: tuple[str, ...] = ("127.0.0.1",)


# -- the library ----------------------------------------------------------------------------------------------------


def name_length(name: str, unit: Literal["utf16", "code_points"]) -> int:
    """Length of a name in the unit asked for; a character outside the BMP counts twice in UTF-16."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 if unit == "utf16" else len(name)


def check_name(name: object, switches: Switches) -> str:
    """Return the name if WeCom would take it for a tag or a group, else raise `Refused`."""
    if not isinstance(name, str):
        raise Refused(errcodes.BAD_PARAMETER, "name must be a string")
    if not name:
        raise Refused(errcodes.BAD_NAME_LENGTH, "name is empty")
    if name_length(name, switches.name_length_unit) > MAX_NAME_LENGTH:
        raise Refused(switches.long_name_code, "name is longer than 30 characters")
    return name


def check_order(order: object) -> int:
    """Return the order if it lies in [0, 2^32), else raise `Refused`."""
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order < MAX_ORDER:
        raise Refused(errcodes.BAD_PARAMETER, "order must lie in [0, 2^32)")
    return order


def check_owner(makers: Iterable[str | None], app: str, switches: Switches) -> None:
    """Raise unless this app made everything it wants to edit or delete (path/92117). None is the admin console.

    That the rule exists is documented; the code answered is not, hence `foreign_tag_code`.
    """
    if any(maker != app for maker in makers):
        raise Refused(switches.foreign_tag_code, "made by the console or by another app")


def check_userid(userid: object) -> str:
    """Return a well-formed userid, else raise 40003."""
    if not isinstance(userid, str) or not _USERID.fullmatch(userid):
        raise Refused(errcodes.BAD_USERID)
    return userid


def check_external_userid(external_userid: object) -> str:
    """Return a well-formed external userid, else raise 41035 or 40096."""
    if external_userid is None or external_userid == "":
        raise Refused(errcodes.EXTERNAL_USERID_MISSING)
    if not isinstance(external_userid, str) or not _USERID.fullmatch(external_userid):
        raise Refused(errcodes.BAD_EXTERNAL_USERID)
    return external_userid


# -- marking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Marking:
    """What one mark_tag call does to one follow: the tag ids it adds, those it removes, and the code it answers."""

    add: frozenset[str]
    remove: frozenset[str]
    code: int = errcodes.OK


def decide_marking(
    held: Collection[str], add: Sequence[str], remove: Sequence[str], known: Collection[str], switches: Switches
) -> Marking:
    """Decide one mark_tag call (path/92118).

    `held` are the tag ids on this follow now, `known` those of `add` and `remove` that exist. Raises `Refused` where
    nothing changes; a code in the result means that a part was applied all the same (`mark_atomic` off).
    """
    if not add and not remove:
        raise Refused(errcodes.BAD_PARAMETER, "add_tag and remove_tag are both empty")
    if len(add) + len(remove) > switches.max_tags_per_mark:
        raise Refused(errcodes.BAD_PARAMETER, "too many tags in one call")
    wanted, unwanted = _settle_both_lists(frozenset(add), frozenset(remove), switches)
    strangers = (wanted | unwanted) - frozenset(known)
    if strangers and switches.mark_atomic:
        raise Refused(errcodes.UNKNOWN_TAG)
    wanted, unwanted, held = wanted - strangers, unwanted - strangers, frozenset(held)
    repeats = (wanted & held) | (unwanted - held)
    if repeats and switches.repeat_mark_code:
        raise Refused(switches.repeat_mark_code, "already in the wanted state")
    if wanted - held and len((held - unwanted) | wanted) > switches.max_tags_on_customer:
        raise Refused(errcodes.TOO_MANY_TAGS_ON_CUSTOMER)
    return Marking(wanted - held, unwanted & held, errcodes.UNKNOWN_TAG if strangers else errcodes.OK)


def _settle_both_lists(add: frozenset[str], remove: frozenset[str], switches: Switches) -> tuple[frozenset[str], frozenset[str]]:
    both = add & remove
    if both and switches.mark_in_both_lists == "refuse":
        raise Refused(errcodes.BAD_PARAMETER, "a tag is in both lists")
    if switches.mark_in_both_lists == "add":
        return add, remove - both
    return add - both, remove


# -- cards ----------------------------------------------------------------------------------------------------------

_CARD_TASK_ID = re.compile(r"[0-9A-Za-z_@-]{1,128}")
MOST_ITEMS, MOST_BUTTONS, LONGEST_KEY = 6, 6, 1024  # path/90236


def check_card(card: object, switches: Switches) -> dict[str, object]:
    """The card if WeCom would take it (path/90236), else raise with the switch's code; long texts are shown cut, not refused."""
    if not isinstance(card, dict):
        raise Refused(errcodes.BAD_PARAMETER, "template_card is required")
    fault = _card_fault(card)
    if fault:
        raise Refused(switches.card_field_code, fault)
    return card


def _card_fault(card: dict[str, object]) -> str:
    title = card.get("main_title")
    if not isinstance(title, dict) or not (title.get("title") or card.get("sub_title_text")):
        return "main_title or sub_title_text is required"
    items = card.get("horizontal_content_list", [])
    if not isinstance(items, list) or len(items) > MOST_ITEMS or not all(isinstance(i, dict) and i.get("keyname") for i in items):
        return "horizontal_content_list holds at most six items, each with a keyname"
    task_id = card.get("task_id")
    if (card.get("card_type") == "button_interaction" or task_id is not None) and not (
        isinstance(task_id, str) and _CARD_TASK_ID.fullmatch(task_id)
    ):
        return "task_id is missing or malformed"
    return _buttons_fault(card.get("button_list")) if card.get("card_type") == "button_interaction" else ""


def _buttons_fault(buttons: object) -> str:
    if not isinstance(buttons, list) or not 1 <= len(buttons) <= MOST_BUTTONS or not all(isinstance(b, dict) for b in buttons):
        return "button_list holds one to six buttons"
    keys = []
    for button in buttons:
        if not button.get("text"):
            return "a button needs a text"
        if button.get("type", 0) == 1:
            if not button.get("url"):
                return "a button of type 1 needs a url"
            continue
        keys.append(str(button.get("key") or ""))
    if any(not key or len(key.encode()) > LONGEST_KEY for key in keys) or len(set(keys)) < len(keys):
        return "a button's key is missing, too long or given twice"
    return ""


# -- frequency ------------------------------------------------------------------------------------------------------


def worst_window(arrivals: Sequence[int], length: int) -> int:
    """The largest number of arrivals in any half-open window of `length`, same unit as `arrivals` (ascending)."""
    worst = first = 0
    for last, arrival in enumerate(arrivals):
        while arrival - arrivals[first] >= length:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


class FrequencyLimit:
    """WeCom's block (path/90312): after more than `limit` calls in a window all are refused for as long again."""

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._arrivals: deque[float] = deque()
        self._blocked_until = float("-inf")

    def admit(self, now: float, limit: int) -> bool:
        """Count one call at `now` (seconds) and say whether it passes."""
        if now < self._blocked_until:
            return False
        while self._arrivals and self._arrivals[0] <= now - self._window:
            self._arrivals.popleft()
        self._arrivals.append(now)
        if len(self._arrivals) <= limit:
            return True
        self._blocked_until = now + self._window
        return False
