# SPDX-License-Identifier: Apache-2.0
"""What can be a namespace resource and what selects one."""

from datetime import UTC, datetime

import pytest

from graftd.model import (
    Direction,
    Namespace,
    NamespaceContent,
    NetnsIdentity,
    RuleList,
    RuleRecord,
    Selector,
    SelectorKind,
    Version,
    check_rule_id,
)
from unit.store_values import endpoint, namespace, rule


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
        (SelectorKind.CONTAINER, "-a", "a letter or digit first"),
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
        (SelectorKind.UNIT, "web@1.service"),
    ],
)
def test_what_selects(kind: SelectorKind, value: str) -> None:
    assert Selector(kind, value).value == value


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a" * 64, "é", "a\n"])
def test_names_of_no_namespace(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a namespace: 1 to 63 letters"):
        Namespace(name, Selector(SelectorKind.NETNS, "a"))


@pytest.mark.parametrize("rule_id", ["", "A", "1a", "a-", "a" * 64, "a\n"])
def test_ids_of_no_rule(rule_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be a rule's id: 1 to 63 lower-case"):
        check_rule_id(rule_id)


def test_labels() -> None:
    with pytest.raises(ValueError, match="'-' cannot be a label's key"):
        Namespace("a", Selector(SelectorKind.NETNS, "a"), labels={"-": ""})
    with pytest.raises(ValueError, match="label 'a' has a value that is longer than 255"):
        namespace("a", a="x" * 256)
    with pytest.raises(ValueError, match="at most 64 labels, 'a' has 65"):
        Namespace("a", Selector(SelectorKind.NETNS, "a"), labels={f"l{number}": "" for number in range(65)})


def test_identities() -> None:
    with pytest.raises(ValueError, match="a cookie holds for one boot"):
        NetnsIdentity("", 1)
    with pytest.raises(ValueError, match="0 is no cookie"):
        NetnsIdentity("boot", 0)


def test_a_content_has_nothing_twice() -> None:
    with pytest.raises(ValueError, match="endpoint 'a' is there twice"):
        NamespaceContent(endpoints=(endpoint("a"), endpoint("b"), endpoint("a", 1)))
    with pytest.raises(ValueError, match="two ingress rules match the same"):
        NamespaceContent(ingress=(rule(1), rule(1, "to")))
    with pytest.raises(ValueError, match="an egress rule stands among the ingress rules"):
        NamespaceContent(ingress=(rule(1, direction=Direction.EGRESS),))


def test_etags_tell_a_revision_that_was_counted_twice() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    etags = {Version(revision, early, updated).etag for revision in (1, 2) for updated in (early, late)}
    assert len(etags) == 4


def test_a_lists_etag_tells_the_order() -> None:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    one, two = (RuleRecord("web", f"r-{n}", n, rule(n + 1), Version(n + 1, time, time)) for n in (0, 1))
    assert len({RuleList(records).etag for records in ((), (one,), (one, two), (two, one))}) == 4
