# SPDX-License-Identifier: Apache-2.0
"""Resource names: `namespaces/{namespace}`, and below it `endpoints/`, `rules/`, `aclRules/` and `sockets/`."""

from __future__ import annotations

import enum

from graftd.api.errors import Violations
from graftd.model import check_id

EVERY = "-"
_COOKIE_MAX = 2**64 - 1


class Collection(enum.StrEnum):
    """What a namespace has, by its word in names."""

    ENDPOINTS = "endpoints"
    RULES = "rules"
    ACL_RULES = "aclRules"
    SOCKETS = "sockets"


_ARTICLED = {
    Collection.ENDPOINTS: ("an endpoint", "{endpoint}"),
    Collection.RULES: ("a rule", "{rule}"),
    Collection.ACL_RULES: ("an ACL rule", "{acl_rule}"),
    Collection.SOCKETS: ("a socket", "{socket}"),
}


def namespace(namespace_id: str) -> str:
    return f"namespaces/{namespace_id}"


def child(namespace_id: str, collection: Collection, child_id: str | int) -> str:
    return f"namespaces/{namespace_id}/{collection.value}/{child_id}"


def parse_namespace(name: str, field: str, found: Violations) -> str:
    """The id in `namespaces/{namespace}`; "" where `found` has a word about the field."""
    return _namespace(name, field, found, every=False)


def parse_parent(name: str, field: str, found: Violations) -> str:
    """As parse_namespace; EVERY for `namespaces/-`."""
    return _namespace(name, field, found, every=True)


def parse_child(name: str, collection: Collection, field: str, found: Violations) -> tuple[str, str]:
    """The ids of the namespace and of what it has; ("", "") where `found` has a word about the field."""
    what, part = _ARTICLED[collection]
    parts = name.split("/", 4)
    if len(parts) != 4 or parts[0] != "namespaces" or parts[2] != collection.value:
        found.add(field, _form(name, f"the name of {what}", child("{namespace}", collection, part)))
        return "", ""
    try:
        check_id("a namespace", parts[1])
        if collection is Collection.SOCKETS:
            _check_cookie(parts[3])
        else:
            check_id(what, parts[3])
    except ValueError as error:
        found.add(field, error)
        return "", ""
    return parts[1], parts[3]


def parse_socket(name: str, field: str, found: Violations) -> tuple[str, int]:
    """As parse_child, with the socket's cookie as a number, 0 where `found` has a word about the field."""
    namespace_id, cookie = parse_child(name, Collection.SOCKETS, field, found)
    return namespace_id, int(cookie or 0)


def check_new_id(what: str, new_id: str, field: str, found: Violations) -> str:
    """An id that a create asks for; "" where `found` has a word about the field. what: as in model.check_id."""
    try:
        check_id(what, new_id)
    except ValueError as error:
        found.add(field, error)
        return ""
    return new_id


def _namespace(name: str, field: str, found: Violations, *, every: bool) -> str:
    head, slash, namespace_id = name.partition("/")
    if head != "namespaces" or not slash or "/" in namespace_id:
        found.add(field, _form(name, "the name of a namespace", "namespaces/{namespace}"))
        return ""
    if namespace_id == EVERY:
        if every:
            return EVERY
        found.add(
            field, "one namespace has to be named here: 'namespaces/-', for all of them, is for lists and watches"
        )
        return ""
    try:
        check_id("a namespace", namespace_id)
    except ValueError as error:
        found.add(field, error)
        return ""
    return namespace_id


def _form(name: str, what: str, form: str) -> str:
    if not name:
        return f"{what} is missing: it is of the form {form}"
    return f"'{name}' is not {what}: that is of the form {form}"


def _check_cookie(text: str) -> None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and text[0] != "0" and int(text) <= _COOKIE_MAX):
        raise ValueError(f"'{text}' cannot name a socket: its cookie can, a decimal number from 1 to {_COOKIE_MAX}")
