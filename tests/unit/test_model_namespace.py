# SPDX-License-Identifier: Apache-2.0
"""What can be a namespace resource and what selects one."""

from datetime import UTC, datetime

import pytest

from graftd.model import (
    Freeze,
    Identified,
    Namespace,
    NamespaceContent,
    NetnsIdentity,
    Selector,
    SelectorKind,
    Version,
    check_annotations,
)
from unit.store_values import acl, endpoint, namespace, rule


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (SelectorKind.NETNS, "", "netns '' selects no namespace: a name has 1 to 255 bytes"),
        (SelectorKind.NETNS, "a/b", "say path for a file"),
        (SelectorKind.NETNS, "..", "no slash"),
        (SelectorKind.NETNS, "é" * 128, "1 to 255 bytes"),
        (SelectorKind.PATH, "run/netns/a", "a path starts with a slash"),
        (SelectorKind.PATH, "/a\0b", "a path starts with a slash"),
        (SelectorKind.PATH, "/" + "a" * 4095, "at most 4095 bytes"),
        (SelectorKind.PID, "0", "a process id goes from 1 to 4194304"),
        (SelectorKind.PID, "4194305", "a process id goes from 1 to 4194304"),
        (SelectorKind.PID, "01", "a process id goes from 1 to 4194304"),
        (SelectorKind.PID, "1\n", "a process id goes from 1 to 4194304"),
        (SelectorKind.CONTAINER, "a/b", "a container's id has 1 to 128 letters, digits"),
        (SelectorKind.CONTAINER, "a" * 129, "a container's id has 1 to 128"),
        (SelectorKind.UNIT, "web", "a unit's name ends in its type, as in web.service"),
        (SelectorKind.UNIT, "a b.service", "a unit's name ends in its type"),
    ],
)
def test_what_selects_nothing(kind: SelectorKind, value: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="selects no namespace: ") as caught:
        Selector(kind, value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SelectorKind.NETNS, "a" * 255),
        (SelectorKind.PATH, "/" + "a" * 4094),
        (SelectorKind.PID, "4194304"),
        (SelectorKind.CONTAINER, "0123456789abcdef"),
        (SelectorKind.CONTAINER, "-_." + "a" * 125),
        (SelectorKind.UNIT, "web@1.service"),
    ],
)
def test_what_selects(kind: SelectorKind, value: str) -> None:
    assert Selector(kind, value).value == value


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a" * 64, "é", "a\n"])
def test_names_of_no_namespace(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a namespace: 1 to 63 letters"):
        Namespace(name, Selector(SelectorKind.NETNS, "a"))


def test_ids_of_no_rule() -> None:
    with pytest.raises(ValueError, match="'-a' cannot name a rule: 1 to 63 letters"):
        Identified("-a", rule(1))
    assert Identified("", rule(1)).id == ""


def test_targets() -> None:
    assert endpoint("a", target="db").target == "db"
    with pytest.raises(ValueError, match="'-' cannot name a namespace"):
        endpoint("a", target="-")


def test_when_a_process_started() -> None:
    assert Selector(SelectorKind.PID, "5", 7) != Selector(SelectorKind.PID, "5", 8)
    with pytest.raises(ValueError, match="only a selector of a process has a time"):
        Selector(SelectorKind.NETNS, "a", 7)


def test_labels() -> None:
    with pytest.raises(ValueError, match="'A' cannot be the key of labels: 1 to 63 of a-z"):
        Namespace("a", Selector(SelectorKind.NETNS, "a"), labels={"A": ""})
    with pytest.raises(ValueError, match=r"label 'a' cannot be 'x\+': at most 63 letters"):
        namespace("a", a="x+")
    with pytest.raises(ValueError, match=f"label 'a' cannot be '{'x' * 64}'"):
        namespace("a", a="x" * 64)
    with pytest.raises(ValueError, match="at most 64 labels, these are 65"):
        Namespace("a", Selector(SelectorKind.NETNS, "a"), labels={f"l{number}": "" for number in range(65)})
    assert namespace("a", a="x" * 63, b="").labels == {"a": "x" * 63, "b": ""}


def test_annotations() -> None:
    check_annotations({"a": "é" * 8191, "b": ""})
    with pytest.raises(ValueError, match="at most 16384 bytes in all, these have 16385"):
        check_annotations({"a": "é" * 8192})
    with pytest.raises(ValueError, match="'' cannot be the key of annotations"):
        check_annotations({"": "a"})


def test_freezes() -> None:
    assert Freeze("é" * 256).reason == "é" * 256
    with pytest.raises(ValueError, match="at most 256 characters, this has 257"):
        Freeze("a" * 257)


def test_identities() -> None:
    with pytest.raises(ValueError, match="a cookie holds for one boot"):
        NetnsIdentity("", 1)
    with pytest.raises(ValueError, match="0 is no cookie"):
        NetnsIdentity("boot", 0)


def test_a_content_has_nothing_twice() -> None:
    with pytest.raises(ValueError, match="endpoint 'a' is there twice"):
        NamespaceContent(endpoints=(endpoint("a"), endpoint("b"), endpoint("a", 1)))
    with pytest.raises(ValueError, match="two rules have the same direction, network"):
        NamespaceContent(rules=(Identified("", rule(1)), Identified("", rule(1, "to"))))
    with pytest.raises(ValueError, match="rule 'a' is there twice"):
        NamespaceContent(rules=(Identified("a", rule(1)), Identified("a", rule(2))))
    with pytest.raises(ValueError, match="ACL rule 'a' is there twice"):
        NamespaceContent(acl=(Identified("a", acl(1)), Identified("a", acl(1))))
    NamespaceContent(acl=(Identified("", acl(1)), Identified("", acl(1))))


def test_etags_tell_a_revision_that_was_counted_twice() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    etags = {Version(revision, early, updated).etag for revision in (1, 2) for updated in (early, late)}
    assert len(etags) == 4
