"""The shapes of the control API's bodies: a corp to load, faults to queue, edits made by people in WeCom.

Shapes only. A corp's file may carry keys that mean nothing here (roles, kinds, grants); they are ignored. Edits and
faults refuse unknown keys, because a misspelt one would silently test nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field


class CallbackSetup(Struct, frozen=True):
    """Where an app receives callbacks: URL, Token, EncodingAESKey, in the forms of path/90930."""

    url: str
    token: Annotated[str, Meta(pattern="^[A-Za-z0-9]{1,32}$")]
    aes_key: Annotated[str, Meta(pattern="^[A-Za-z0-9]{43}$")]


class AppSetup(Struct, frozen=True):
    """A self-built app, or the contact assistant. `customer_contact`: listed among the apps that may call its APIs."""

    name: str
    secret: str
    agent_id: int = 0
    kind: Literal["app", "contacts"] = "app"
    callback: CallbackSetup | None = None
    customer_contact: bool = True


class TagSetup(Struct, frozen=True):
    name: str


class GroupSetup(Struct, frozen=True):
    """Tags made by the console, or by the named app; a group named twice is filled twice."""

    name: str
    tags: list[str | TagSetup] = field(default_factory=list)
    app: str | None = None

    def tag_names(self) -> list[str]:
        return [tag if isinstance(tag, str) else tag.name for tag in self.tags]


class StrategyTag(Struct, frozen=True):
    """A tag of a customer strategy (path/94882): shown on a follow, no part of the corp's library."""

    id: str
    name: str
    group: str


class FollowSetup(Struct, frozen=True):
    """A customer of an employee with the tags on that follow, as "group/tag"; `createtime` in seconds since 1970."""

    userid: str
    external_userid: str
    name: str | None = None
    createtime: int | None = None
    tags: list[str] = field(default_factory=list)
    personal_tags: list[str] = field(default_factory=list)
    strategy_tags: list[StrategyTag] = field(default_factory=list)
    remark: str = ""
    description: str = ""
    add_way: int = 0
    state: str = ""
    half: bool = False


class CorpSetup(Struct, frozen=True):
    """A whole corp. Departments and employees use WeCom's field names."""

    corp_id: str
    name: str = ""
    apps: list[AppSetup] = field(default_factory=list)
    departments: list[dict[str, Any]] = field(default_factory=list)
    employees: list[dict[str, Any]] = field(default_factory=list)
    tag_groups: list[GroupSetup] = field(default_factory=list)
    follows: list[FollowSetup] = field(default_factory=list)


class FaultSetup(Struct, frozen=True, forbid_unknown_fields=True):
    """A fault for the next calls of an API.

    `api` is the path below /cgi-bin/ or the end of one ("mark_tag"), "*" any. `times` below 0 means until deleted.
    `effect` says whether the call takes effect before its answer is spoilt; left out, it does for slow, reset,
    truncated, empty and without and does not for errcode, http and html.
    `fields` are what an answer comes `without`. `seconds` delays the answer of every kind.
    """

    kind: Literal["errcode", "http", "slow", "reset", "html", "truncated", "empty", "without"]
    api: str = "*"
    times: int = 1
    code: int = -1
    status: int | None = None
    seconds: float = 0.0
    effect: bool | None = None
    fields: list[str] = field(default_factory=list)


class Edit(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """An edit made by people in WeCom itself. A tag is named "group/tag" or by its id."""


class Mark(Edit, frozen=True, tag="mark"):
    userid: str
    external_userid: str
    add: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    strategy_tags: list[StrategyTag] | None = None
    """All strategy tags of the follow from now on, where they are changed."""


class CreateGroup(Edit, frozen=True, tag="create_group"):
    group: str
    tags: list[str]


class RenameGroup(Edit, frozen=True, tag="rename_group"):
    group: str
    name: str


class DeleteGroup(Edit, frozen=True, tag="delete_group"):
    group: str


class CreateTag(Edit, frozen=True, tag="create_tag"):
    group: str
    name: str


class RenameTag(Edit, frozen=True, tag="rename_tag"):
    tag: str
    name: str


class DeleteTag(Edit, frozen=True, tag="delete_tag"):
    tag: str


class AddContact(Edit, frozen=True, tag="add_contact"):
    """`half`: added without asking, and not confirmed by the customer yet; the same once more without it confirms."""

    userid: str
    external_userid: str
    name: str | None = None
    state: str = ""
    personal_tags: list[str] = field(default_factory=list)
    strategy_tags: list[StrategyTag] = field(default_factory=list)
    half: bool = False


class DelContact(Edit, frozen=True, tag="del_contact"):
    """`by`: the employee deleted the customer, the customer the employee (one-way: the follow stays), or a transfer."""

    userid: str
    external_userid: str
    by: Literal["employee", "customer", "transfer"] = "employee"


class CreateUser(Edit, frozen=True, tag="create_user"):
    user: dict[str, Any]


class UpdateUser(Edit, frozen=True, tag="update_user"):
    """`changes` in WeCom's field names; a new `userid` renames the account."""

    userid: str
    changes: dict[str, Any]


class DeleteUser(Edit, frozen=True, tag="delete_user"):
    userid: str


class CreateParty(Edit, frozen=True, tag="create_party"):
    party: dict[str, Any]


class UpdateParty(Edit, frozen=True, tag="update_party"):
    id: int
    changes: dict[str, Any]


class DeleteParty(Edit, frozen=True, tag="delete_party"):
    id: int


class ShuffleTags(Edit, frozen=True, tag="shuffle_tags"):
    """The admin drags tags of a group, or with no group the groups, into another order: names, the first one first."""

    order: list[str]
    group: str = ""


class TransferFail(Edit, frozen=True, tag="transfer_fail"):
    """A customer does not come to the employee who was to take over."""

    userid: str
    external_userid: str
    reason: Literal["customer_refused", "customer_limit_exceed"] = "customer_refused"


class ClickCard(Edit, frozen=True, tag="click_card"):
    """An employee presses a button of the card with that task id. `forged`: what no client of WeCom's would send, such as a
    click by somebody who never got the card, on a button it does not have, or after it was closed."""

    userid: str
    task_id: str
    key: str
    forged: bool = False


AnyEdit = (
    Mark | CreateGroup | RenameGroup | DeleteGroup | CreateTag | RenameTag | DeleteTag | AddContact | DelContact
    | CreateUser | UpdateUser | DeleteUser | CreateParty | UpdateParty | DeleteParty | ClickCard | ShuffleTags | TransferFail
)  # fmt: skip
