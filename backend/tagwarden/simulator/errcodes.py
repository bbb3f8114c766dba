"""WeCom's error codes as the simulator answers them, with WeCom's English texts.

Source: the global error list, https://developer.work.weixin.qq.com/document/path/90313. Clients must never match on the
texts; they are here to be read by people. Nothing is decided in this file.
"""

from __future__ import annotations

OK = 0
SYSTEM_BUSY = -1
WRONG_SECRET = 40001
BAD_USERID = 40003
BAD_CORPID = 40013
BAD_TOKEN = 40014
BAD_USERID_LIST = 40031
USERID_LIST_TOO_LONG = 40032
BAD_PARAMETER = 40058
UNKNOWN_TAG = 40068
NAME_TAKEN = 40071
BAD_NAME_LENGTH = 40072
SECRET_OF_ANOTHER_CORP = 40091
BAD_EXTERNAL_USERID = 40096
TOO_MANY_CORP_TAGS = 40126
TOO_MANY_TAGS_ON_CUSTOMER = 40144
TOKEN_MISSING = 41001
CORPID_MISSING = 41002
SECRET_MISSING = 41004
EXTERNAL_USERID_MISSING = 41035
TOKEN_EXPIRED = 42001
NO_CALLBACK_URL = 43012
TOO_FREQUENT = 45009
TOO_MANY_PARALLEL = 45033
CONCURRENT_EDIT = 45035
API_NOT_PERMITTED = 48002
CONTACTS_NOT_READABLE = 48009
BAD_CURSOR = 50100
UNKNOWN_DEPARTMENT = 60003
IP_NOT_TRUSTED = 60020
UNKNOWN_USERID = 60111
BAD_RESPONSE_CODE = 60140
NOT_YOUR_TAG = 81011
NO_VALID_RECEIVER = 81013
NO_RELATION = 84061
NOT_A_FOLLOW_USER = 84084
NOT_YOUR_AGENT = 301002

TEXTS: dict[int, str] = {
    OK: "ok",
    SYSTEM_BUSY: "system busy",
    WRONG_SECRET: "invalid credential",
    BAD_USERID: "invalid userid",
    BAD_CORPID: "invalid corpid",
    BAD_TOKEN: "invalid access_token",
    BAD_USERID_LIST: "invalid userid list",
    USERID_LIST_TOO_LONG: "userid list too long",
    BAD_PARAMETER: "invalid request parameter",
    UNKNOWN_TAG: "invalid tag id",
    NAME_TAKEN: "invalid tag name, already exists",
    BAD_NAME_LENGTH: "invalid tag name length",
    SECRET_OF_ANOTHER_CORP: "invalid corpsecret",
    BAD_EXTERNAL_USERID: "invalid external userid",
    TOO_MANY_CORP_TAGS: "corp tag count exceeds the limit",
    TOO_MANY_TAGS_ON_CUSTOMER: "the customer's tag count exceeds the limit",
    TOKEN_MISSING: "access_token missing",
    CORPID_MISSING: "corpid missing",
    SECRET_MISSING: "secret missing",
    EXTERNAL_USERID_MISSING: "external_userid missing",
    TOKEN_EXPIRED: "access_token expired",
    NO_CALLBACK_URL: "the app has no callback url",
    TOO_FREQUENT: "api freq out of limit",
    TOO_MANY_PARALLEL: "api concurrent out of limit",
    CONCURRENT_EDIT: "concurrent modification conflict",
    API_NOT_PERMITTED: "api forbidden",
    CONTACTS_NOT_READABLE: "contact sync may not read contacts",
    BAD_CURSOR: "invalid cursor",
    UNKNOWN_DEPARTMENT: "department not found",
    IP_NOT_TRUSTED: "not allow to access from your ip",
    UNKNOWN_USERID: "userid not found",
    BAD_RESPONSE_CODE: "invalid response_code",
    NOT_YOUR_TAG: "no permission to operate the tag",
    NO_VALID_RECEIVER: "user & party & tag all invalid",
    NO_RELATION: "not external contact",
    NOT_A_FOLLOW_USER: "not a follow user",
    NOT_YOUR_AGENT: "not allow to operate the agent with this agentid",
}


def describe(code: int) -> str:
    """WeCom's English text for a code; a neutral one for codes injected as faults."""
    return TEXTS.get(code, "error")
