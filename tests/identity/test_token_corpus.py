"""Every way a token can be wrong ends in one constant 401, over HTTP; none of them is ever an error of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from support.company import ISSUER, Companies, Company
from support.service import (
    RSA_ISSUER,
    RSA_PRIVATE,
    RSA_PUBLIC,
    SECOND_ISSUER,
    SECOND_KEY,
    TOKEN_KEY,
    Service,
    check_problem,
    token_for,
)

Make = Callable[[str], str]


def claims(corp_id: str, /, **changed: Any) -> dict[str, Any]:
    """A complete set; None takes a claim away."""
    at = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": "tagwarden",
        "sub": "ann",
        "corp_id": corp_id,
        "iat": at,
        "exp": at + 600,
        "jti": "one",
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def signed(corp_id: str, /, *, key: str = TOKEN_KEY, algorithm: str = "HS256", header: Any = None, **changed: Any) -> str:
    """A token of the first issuer with some claims changed."""
    return jwt.encode(claims(corp_id, **changed), key, algorithm=algorithm, headers=header)


def b64(raw: bytes) -> str:
    """Base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def by_hand(header: str | bytes, payload: str | bytes, key: str = TOKEN_KEY, hash_: Any = hashlib.sha256) -> str:
    """An HMAC signature over exactly these bytes, whatever they are."""
    parts = [b64(part.encode() if isinstance(part, str) else part) for part in (header, payload)]
    mac = hmac.new(key.encode(), ".".join(parts).encode(), hash_).digest()
    return ".".join([*parts, b64(mac)])


def whole_header(**more: Any) -> str:
    """A header by hand."""
    return json.dumps({"alg": "HS256", "typ": "JWT", **more})


def text_claims(corp_id: str, old: str, new: str) -> str:
    """The claims as JSON text with one piece replaced, for what a JSON library would not write."""
    text = json.dumps(claims(corp_id, sub="SUB", jti="JTI", exp=123456789))
    assert old in text
    return text.replace(old, new).replace("SUB", "ann").replace("JTI", "one").replace("123456789", str(int(time.time()) + 600))


def tampered(corp_id: str) -> str:
    head, _, signature = signed(corp_id).split(".")
    return ".".join([head, b64(json.dumps(claims(corp_id, sub="boss")).encode()), signature])


def unsigned(alg: str) -> Make:
    return lambda corp_id: f"{b64(json.dumps({'alg': alg}).encode())}.{b64(json.dumps(claims(corp_id)).encode())}."


def confused(key: str) -> Make:
    """HS256 with the RSA issuer's public key as the secret."""
    return lambda corp_id: by_hand(whole_header(), json.dumps(claims(corp_id, iss=RSA_ISSUER)), key)


def without(name: str) -> Make:
    """One claim less."""
    missing: dict[str, Any] = {name: None}
    return lambda corp_id: signed(corp_id, **missing)


BAD: dict[str, Make] = {
    "alg_none": unsigned("none"),
    "alg_None": unsigned("None"),
    "alg_NONE": unsigned("NONE"),
    "alg_empty": unsigned(""),
    "alg_none_with_signature": lambda c: by_hand('{"alg":"none"}', json.dumps(claims(c))),
    "alg_missing": lambda c: by_hand('{"typ":"JWT"}', json.dumps(claims(c))),
    "alg_a_number": lambda c: by_hand('{"alg":5}', json.dumps(claims(c))),
    "alg_a_list": lambda c: by_hand('{"alg":["HS256"]}', json.dumps(claims(c))),
    "alg_lower_case": lambda c: by_hand('{"alg":"hs256"}', json.dumps(claims(c))),
    "other_hmac_of_the_same_key": lambda c: by_hand('{"alg":"HS512"}', json.dumps(claims(c)), hash_=hashlib.sha512),
    "rsa_public_key_as_secret": confused(RSA_PUBLIC),
    "rsa_public_key_as_secret_stripped": confused(RSA_PUBLIC.strip()),
    "rsa_signature_for_the_hmac_issuer": lambda c: signed(c, key=RSA_PRIVATE, algorithm="RS256"),
    "rsa_issuer_other_padding": lambda c: signed(c, key=RSA_PRIVATE, algorithm="PS256", iss=RSA_ISSUER),
    "another_issuers_key": lambda c: signed(c, key=SECOND_KEY),
    "empty_key": lambda c: by_hand(whole_header(), json.dumps(claims(c)), ""),
    "expired": lambda c: signed(c, exp=int(time.time()) - 60),
    "expired_in_1970": lambda c: signed(c, exp=1),
    "exp_true": lambda c: signed(c, exp=True),
    "exp_text": lambda c: by_hand(whole_header(), text_claims(c, "123456789", '"soon"')),
    "exp_a_fraction": lambda c: signed(c, exp=time.time() + 600.5),
    "exp_nan": lambda c: by_hand(whole_header(), text_claims(c, "123456789", "NaN")),
    "exp_endless": lambda c: by_hand(whole_header(), text_claims(c, "123456789", "1e999")),
    "exp_of_5000_digits": lambda c: by_hand(whole_header(), text_claims(c, "123456789", "9" * 5000)),
    "iat_endless": lambda c: by_hand(whole_header(), json.dumps(claims(c, iat=float("inf")))),
    "not_yet_valid": lambda c: signed(c, nbf=int(time.time()) + 60),
    "nbf_endless": lambda c: by_hand(whole_header(), json.dumps(claims(c, nbf=float("inf")))),
    "issued_in_the_future": lambda c: signed(c, iat=int(time.time()) + 60),
    "wrong_audience": lambda c: signed(c, aud="another service"),
    "audience_a_number": lambda c: signed(c, aud=7),
    "audience_an_empty_list": lambda c: by_hand(whole_header(), json.dumps(claims(c, aud=[]))),
    "unknown_issuer": lambda c: signed(c, iss="somebody"),
    "issuer_a_list": lambda c: by_hand(whole_header(), json.dumps(claims(c, iss=[ISSUER]))),
    "issuer_other_case": lambda c: signed(c, iss=ISSUER.upper()),
    **{f"without_{name}": without(name) for name in claims("")},
    "payload_tampered": tampered,
    "signature_tampered": lambda c: signed(c)[:-6] + "AAAAAA",
    "signature_empty": lambda c: signed(c).rsplit(".", 1)[0] + ".",
    "signature_missing": lambda c: signed(c).rsplit(".", 1)[0],
    "truncated": lambda c: signed(c)[: len(signed(c)) // 2],
    "extra_segment": lambda c: signed(c) + ".AAAA",
    "five_segments": lambda c: ".".join([*signed(c).split("."), "AA", "AA"]),
    "doubled": lambda c: signed(c) * 2,
    "two_tokens_in_one_header": lambda c: f"{signed(c)}, Bearer {signed(c)}",
    "not_base64": lambda c: "@@@.###.$$$",
    "only_dots": lambda c: "..",
    "one_word": lambda c: "token",
    "not_json": lambda c: by_hand(whole_header(), "claims"),
    "payload_a_list": lambda c: by_hand(whole_header(), "[]"),
    "payload_null": lambda c: by_hand(whole_header(), "null"),
    "header_a_list": lambda c: by_hand("[]", json.dumps(claims(c))),
    "header_not_utf8": lambda c: by_hand(b"\xff\xfe", json.dumps(claims(c))),
    "payload_not_utf8": lambda c: by_hand(whole_header(), b'{"sub":"\xff"}'),
    "nested_too_deeply": lambda c: by_hand(whole_header(), "[" * 3000 + "]" * 3000),
    "nested_token": lambda c: by_hand(whole_header(cty="JWT"), signed(c)),
    "crit_unknown": lambda c: signed(c, header={"crit": ["mine"], "mine": 1}),
    "crit_not_a_list": lambda c: signed(c, header={"crit": "exp"}),
    "detached_payload": lambda c: by_hand(whole_header(b64=False, crit=["b64"]), json.dumps(claims(c))),
    "encrypted_form": lambda c: ".".join([b64(b'{"alg":"dir","enc":"A256GCM"}'), "", "AAAA", "AAAA", "AAAA"]),
    "kid_a_number": lambda c: by_hand(whole_header(kid=5), json.dumps(claims(c))),
    "longer_than_any": lambda c: signed(c, extra="x" * 9000),
    "huge": lambda c: "a" * 300_000,
    "unicode": lambda c: "标签.卫士.令牌",
    "sub_a_number": lambda c: by_hand(whole_header(), json.dumps(claims(c, sub=7))),
    "sub_a_list": lambda c: by_hand(whole_header(), json.dumps(claims(c, sub=["ann"]))),
    "sub_empty": lambda c: signed(c, sub=""),
    "sub_huge": lambda c: signed(c, sub="a" * 257),
    "jti_a_number": lambda c: by_hand(whole_header(), json.dumps(claims(c, jti=1))),
    "jti_empty": lambda c: signed(c, jti=""),
    "corp_a_number": lambda c: signed(c, corp_id=7),
    "corp_a_list": lambda c: signed(c, corp_id=[c]),
    "corp_unknown": lambda c: signed(c, corp_id="nowhere"),
    "corp_other_case": lambda c: signed(c, corp_id=c.upper()),
    "corp_with_nul": lambda c: signed(c, corp_id=f"{c}\0"),
    "corp_half_a_character": lambda c: by_hand(whole_header(), text_claims(c, f'"{c}"', '"\\ud800"')),
    "corp_with_sql": lambda c: signed(c, corp_id=f"{c}' or '1'='1"),
    "issuer_not_bound_to_the_corp": lambda c: signed(c, key=SECOND_KEY, iss=SECOND_ISSUER),
    "rsa_issuer_not_bound_to_the_corp": lambda c: signed(c, key=RSA_PRIVATE, algorithm="RS256", iss=RSA_ISSUER),
    "act_text": lambda c: signed(c, act="robot"),
    "act_empty": lambda c: signed(c, act={}),
    "act_null": lambda c: by_hand(whole_header(), json.dumps({**claims(c), "act": None})),
    "act_list": lambda c: signed(c, act=[{"sub": "robot"}]),
    "act_sub_empty": lambda c: signed(c, act={"sub": ""}),
    "act_sub_a_number": lambda c: signed(c, act={"sub": 5}),
}


@pytest.fixture(scope="module")
async def company(companies: Companies) -> Company:
    return await companies.make()


@pytest.fixture(scope="module")
async def constant(service: Service) -> dict[str, Any]:
    """The answer to nobody at all."""
    return unsaid(await service.http.get("/v1/me"))


def unsaid(response: httpx.Response) -> dict[str, Any]:
    """The whole answer without what is new in every one."""
    body = check_problem(response, 401, "unauthenticated")
    assert body.pop("request_id")
    assert response.headers["www-authenticate"] == "Bearer"
    return {**body, "headers": sorted(name for name in response.headers if name not in ("date", "content-length"))}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_one_constant_401(name: str, company: Company, service: Service, constant: dict[str, Any]) -> None:
    token = BAD[name](company.corp_id)
    headers = {b"Authorization": f"Bearer {token}".encode()}
    assert unsaid(await service.http.get("/v1/me", headers=headers)) == constant
    write = await service.http.post("/v1/customers/c1/tag-changes", content=b"{}", headers=headers)
    assert unsaid(write) == constant


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic YW5uOmFubg==", "Token {t}", "{t}", "Bearer{t}", "Bearer: {t}", "JWT {t}", "Bearer {t} x"],
)
async def test_a_header_of_another_form_is_the_same_401(
    header: str, company: Company, service: Service, constant: dict[str, Any]
) -> None:
    value = header.replace("{t}", token_for(company.corp_id, "ann"))
    assert unsaid(await service.http.get("/v1/me", headers={"Authorization": value})) == constant


async def test_two_authorization_headers_are_refused(company: Company, service: Service, constant: dict[str, Any]) -> None:
    good = f"Bearer {token_for(company.corp_id, 'ann')}"
    for pair in ([good, "Bearer x"], ["Bearer x", good]):
        answer = await service.http.get("/v1/me", headers=[("Authorization", one) for one in pair])
        assert unsaid(answer) == constant


async def test_a_token_elsewhere_than_in_the_header_is_nobody(
    company: Company, service: Service, constant: dict[str, Any]
) -> None:
    token = token_for(company.corp_id, "ann")
    assert unsaid(await service.http.get(f"/v1/me?access_token={token}")) == constant
    assert unsaid(await service.http.get("/v1/me", headers={"Cookie": f"access_token={token}; token={token}"})) == constant


GOOD: dict[str, Make] = {
    "plain": signed,
    "audience_among_several": lambda c: signed(c, aud=["another", "tagwarden"]),
    "kid_jku_x5u_are_never_followed": lambda c: signed(
        c, header={"kid": "../../etc/passwd", "jku": "http://127.0.0.1:9/k", "x5u": "http://127.0.0.1:9/x", "jwk": {"kty": "oct"}}
    ),
    "header_without_typ": lambda c: by_hand('{"alg":"HS256"}', json.dumps(claims(c))),
    "clock_a_little_ahead": lambda c: signed(c, iat=int(time.time()) + 3, nbf=int(time.time()) + 3),
    "unknown_claims": lambda c: signed(c, roles=["admin"], may_sign=True, person="boss"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_token_is_its_person_and_no_more(name: str, company: Company, service: Service) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await service.http.get("/v1/me", headers={"Authorization": f"{scheme} {GOOD[name](company.corp_id)}"})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["userid"], answer.json()["roles"]) == ("ann", ["staff"])


async def test_a_remembered_token_ends_with_its_time(company: Company, service: Service) -> None:
    # Within the leeway of five seconds it still stands, so it begins almost at the end of that.
    token = signed(company.corp_id, iat=int(time.time()) - 60, exp=int(time.time()) - 1)
    headers = {"Authorization": f"Bearer {token}"}
    first = await service.http.get("/v1/me", headers=headers)
    assert first.status_code == 200
    until = time.monotonic() + 20
    status = 200
    while status == 200 and time.monotonic() < until:
        status = (await service.http.get("/v1/me", headers=headers)).status_code
    assert status == 401


async def test_the_constant_401_speaks_both_languages_and_leaks_nothing(company: Company, service: Service) -> None:
    for language, word in (("zh-CN", "请先登录"), ("en", "Sign in first")):
        answer = await service.http.get(
            "/v1/me", headers={"Authorization": f"Bearer {tampered(company.corp_id)}", "Accept-Language": language}
        )
        assert word in check_problem(answer, 401)["detail"]
        assert company.corp_id not in answer.text
