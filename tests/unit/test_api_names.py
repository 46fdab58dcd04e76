# SPDX-License-Identifier: Apache-2.0
"""Resource names, request ids and page tokens: what is built is read, and what is not ours is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.v1 import endpoint_pb2
from graftd.api import names, requests
from graftd.api.errors import InvalidFieldsError, InvalidPageTokenError, Violations
from graftd.api.names import Collection
from graftd.api.pages import MAX_SIZE, Cursor, Pages, page_size
from graftd.api.text import readable, shorten, utf8
from unit.api_values import ids
from unit.messages import messages, text

KEY = b"k" * 32
LIST = "/graft.v1.EndpointService/ListEndpoints"
UUID = "5ea1be42-1d6f-4c0e-9a57-0a4e42f6f3c1"


def sentence(found: Violations) -> str:
    with pytest.raises(InvalidFieldsError) as caught:
        found.check()
    (violation,) = caught.value.violations
    assert violation.field == "name"
    return violation.sentence


# Names


@given(ids, ids, st.sampled_from(list(Collection)[:3]), st.integers(1, 2**64 - 1))
def test_names_that_are_built_are_read(namespace: str, child: str, collection: Collection, cookie: int) -> None:
    found = Violations()
    assert names.parse_namespace(names.namespace(namespace), "name", found) == namespace
    assert names.parse_child(names.child(namespace, collection, child), collection, "name", found) == (namespace, child)
    socket = names.child(namespace, Collection.SOCKETS, cookie)
    assert names.parse_socket(socket, "name", found) == (namespace, cookie)
    found.check()


@given(text | st.text(max_size=30).map(lambda end: f"namespaces/{end}"), st.sampled_from(Collection))
def test_whatever_is_named_is_read_or_refused(name: str, collection: Collection) -> None:
    for read, nothing in (
        (names.parse_namespace(name, "name", found := Violations()), ""),
        (names.parse_parent(name, "name", parents := Violations()), ""),
    ):
        assert (read == nothing) == (len(found) > 0) or read == names.EVERY
    assert len(parents) <= len(found)
    found = Violations()
    assert (names.parse_child(name, collection, "name", found) == ("", "")) == (len(found) == 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "missing: it is of the form namespaces/{namespace}"),
        ("web", "'web' is not the name of a namespace"),
        ("namespaces", "is not the name"),
        ("namespaces/web/endpoints/ep", "is not the name of a namespace"),
        ("Namespaces/web", "is not the name"),
        ("namespaces/", "cannot name a namespace"),
        ("namespaces/a b", "'a b' cannot name a namespace"),
        ("namespaces/-", "one namespace has to be named here"),
        ("namespaces/" + "a" * 64, "1 to 63"),
        ("namespaces/web\n", r"'web\n' cannot name a namespace"),
    ],
)
def test_what_is_no_namespace_is_refused(name: str, words: str) -> None:
    found = Violations()
    assert names.parse_namespace(name, "name", found) == ""
    assert words in sentence(found)


@pytest.mark.parametrize(
    ("name", "collection", "words"),
    [
        ("", Collection.ENDPOINTS, "missing: it is of the form namespaces/{namespace}/endpoints/{endpoint}"),
        ("namespaces/web", Collection.RULES, "of the form namespaces/{namespace}/rules/{rule}"),
        ("namespaces/web/rules/r/x", Collection.RULES, "is not the name of a rule"),
        ("namespaces/web/acl_rules/r", Collection.ACL_RULES, "aclRules/{acl_rule}"),
        ("namespaces/-/endpoints/ep", Collection.ENDPOINTS, "'-' cannot name a namespace"),
        ("namespaces/web/endpoints/", Collection.ENDPOINTS, "'' cannot name an endpoint"),
        ("namespaces/web/sockets/0", Collection.SOCKETS, "decimal number from 1"),
        ("namespaces/web/sockets/07", Collection.SOCKETS, "decimal number from 1"),
        ("namespaces/web/sockets/18446744073709551616", Collection.SOCKETS, "to 18446744073709551615"),
        ("namespaces/web/sockets/\u0663", Collection.SOCKETS, "decimal number from 1"),
        ("namespaces/web/sockets/", Collection.SOCKETS, "decimal number from 1"),
    ],
)
def test_what_is_no_name_of_a_child_is_refused(name: str, collection: Collection, words: str) -> None:
    found = Violations()
    assert names.parse_child(name, collection, "name", found) == ("", "")
    assert words in sentence(found)


def test_every_namespace_is_for_parents() -> None:
    found = Violations()
    assert names.parse_parent("namespaces/-", "parent", found) == names.EVERY
    assert names.check_new_id("a rule", "-r", "name", found) == ""
    assert "cannot name a rule" in sentence(found)


# Requests


@pytest.mark.parametrize(
    "wrong", ["x", UUID[:-1], UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}", UUID + "\n", "\u0663" * 36]
)
def test_a_request_id_is_a_uuid(wrong: str) -> None:
    found = Violations()
    assert requests.read_request_id(UUID.upper(), found) == UUID
    assert requests.read_request_id("", found) == ""
    found.check()
    assert requests.read_request_id(wrong, found) == ""
    with pytest.raises(InvalidFieldsError, match=r"request_id: .* is no UUID"):
        found.check()


@given(messages(endpoint_pb2.CreateEndpointRequest), text)
def test_a_fingerprint_is_of_all_but_the_request_id(request: endpoint_pb2.CreateEndpointRequest, other: str) -> None:
    same = endpoint_pb2.CreateEndpointRequest.FromString(request.SerializeToString())
    same.request_id = other
    before = request.SerializeToString(deterministic=True)
    assert requests.fingerprint("Create", request) == requests.fingerprint("Create", same)
    assert request.SerializeToString(deterministic=True) == before
    assert requests.fingerprint("Update", request) != requests.fingerprint("Create", request)
    same.validate_only = not request.validate_only
    assert requests.fingerprint("Create", request) != requests.fingerprint("Create", same)


# Pages


@pytest.mark.parametrize(("asked", "size"), [(0, 500), (1, 1), (5000, 5000), (5001, 5000), (2**31 - 1, 5000)])
def test_a_page_has_a_size(asked: int, size: int) -> None:
    found = Violations()
    assert page_size(asked, "page_size", found) == size
    found.check()


def test_a_negative_page_is_refused() -> None:
    found = Violations()
    assert 1 <= page_size(-1, "page_size", found) <= MAX_SIZE
    with pytest.raises(InvalidFieldsError, match="page_size: -1 is negative"):
        found.check()


cursors = st.builds(
    Cursor,
    after=st.lists(st.text(st.characters(), max_size=20) | st.integers(0, 2**64 - 1), max_size=3).map(tuple),
    revision=st.integers(0, 2**63 - 1),
    guard=st.text(max_size=20),
)


def asked(**fields: object) -> endpoint_pb2.ListEndpointsRequest:
    return endpoint_pb2.ListEndpointsRequest(**({"parent": "namespaces/web"} | fields))  # type: ignore[arg-type]


@given(cursors, st.integers(0, 2**31 - 1))
def test_a_token_is_read_by_who_has_the_key(cursor: Cursor, size: int) -> None:
    token = Pages(KEY).write(cursor, LIST, asked(), "admin")
    assert Pages(KEY).read(LIST, asked(page_token=token, page_size=size), "admin") == cursor
    with pytest.raises(InvalidPageTokenError):
        Pages(b"another key, 16+").read(LIST, asked(page_token=token), "admin")


def test_no_token_is_the_first_page() -> None:
    assert Pages(KEY).read(LIST, asked(), "admin") is None


@pytest.mark.parametrize(
    ("method", "view", "fields"),
    [
        ("/graft.v1.RuleService/ListRules", "admin", {}),
        (LIST, "web", {}),
        (LIST, "admin", {"parent": "namespaces/-"}),
        (LIST, "admin", {"labels": {"a": "b"}}),
        (LIST, "admin", {"view": 2}),
    ],
)
def test_a_token_is_for_its_request_alone(method: str, view: str, fields: dict[str, object]) -> None:
    token = Pages(KEY).write(Cursor(("web", "ep"), 3), LIST, asked(), "admin")
    with pytest.raises(InvalidPageTokenError, match="page_token: it was not given out for this request"):
        Pages(KEY).read(method, asked(page_token=token, **fields), view)


TOKEN = Pages(KEY).write(Cursor(("web", "ep"), 3), LIST, asked(), "admin")


@given(st.integers(0, len(TOKEN) - 1), st.text(min_size=1, max_size=1))
def test_a_token_that_was_touched_is_refused(place: int, char: str) -> None:
    touched = TOKEN[:place] + char + TOKEN[place + 1 :]
    if touched != TOKEN:
        with pytest.raises(InvalidPageTokenError):
            Pages(KEY).read(LIST, asked(page_token=touched), "admin")


@pytest.mark.parametrize(
    "token", ["x", "=", TOKEN[:-4], TOKEN + "AAAA", TOKEN + "\n", TOKEN + "=", " " + TOKEN, "A" * 5_000_000, "é", "\0"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageTokenError):
        Pages(KEY).read(LIST, asked(page_token=token), "admin")


def test_another_spelling_of_a_token_is_none() -> None:
    padded = next(
        token
        for length in range(3)
        if (token := Pages(KEY).write(Cursor(("w" * length,), 1), LIST, asked(), "")).endswith("=")
    )
    bare = padded.rstrip("=")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(bare[-1])
    other = bare[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    spelled = other + padded[len(bare) :]
    assert base64.urlsafe_b64decode(spelled) == base64.urlsafe_b64decode(padded)
    with pytest.raises(InvalidPageTokenError):
        Pages(KEY).read(LIST, asked(page_token=spelled), "")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes at least"):
        Pages(b"short")


# Text


@given(st.text(st.characters()))
def test_any_text_is_made_fit(value: str) -> None:
    utf8(value).encode()
    assert readable(value).isprintable()
    readable(value).encode()


@given(st.text(), st.integers(8, 40))
def test_what_is_shortened_keeps_its_ends(value: str, most: int) -> None:
    short = shorten(value, most)
    assert len(short.encode(errors="replace")) <= most
    if len(value.encode(errors="replace")) <= most:
        assert short == value
    else:
        head, tail = short.split("…", 1) if short.count("…") == 1 else ("", "")
        assert value.startswith(head)
        assert value.endswith(tail)
