# SPDX-License-Identifier: Apache-2.0
"""The YAML of apply, diff and export: round trips, what each wrong file gets, and what is applied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from graft_client import messages as m
from graftcli import exits
from graftcli.cmdline import UsageError
from graftcli.document import read, written
from graftcli.yamls import dump
from unit.graftcli_bed import Bed, running

Value = TypeVar("Value")


@pytest.fixture
def bed() -> Iterator[Bed]:
    with running() as one:
        one.fill()
        yield one


# Generated namespaces

IDS = st.text("abcXYZ0189._-", min_size=1, max_size=12).filter(lambda one: one[0].isalnum())
U32 = st.integers(0, 2**32 - 1)
WORDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12)
ADDRESSES = st.ip_addresses().map(str)
LABELS = st.dictionaries(st.text("abyn019._/-", min_size=1, max_size=6), st.text("abyn019._/-", max_size=6), max_size=3)
PROTOCOLS = st.sampled_from([[], [m.PROTOCOL_TCP], [m.PROTOCOL_UDP]])
VERBS = st.sampled_from([[], [m.VERB_LISTEN], [m.VERB_CONNECT]])


def ordered(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


def optional(strategy: st.SearchStrategy[Value]) -> st.SearchStrategy[Value | None]:
    return st.none() | strategy


PORTS = ordered(st.integers(1, 65535)).map(lambda pair: m.PortRange(low=pair[0], high=pair[1]))
ANY_PORTS = PORTS | st.just(m.PortRange())
ID_RANGES = ordered(U32).map(lambda pair: m.IdRange(low=pair[0], high=pair[1]))
NETWORKS = st.just("") | st.ip_addresses().flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(lambda length: network(str(address), length))
)


def network(address: str, length: int) -> str:
    from ipaddress import ip_network

    return str(ip_network(f"{address}/{length}", strict=False))


SELECTORS = st.one_of(
    st.builds(m.NamespaceSelector, iproute2_name=WORDS.filter(bool)),
    st.builds(m.NamespaceSelector, path=IDS.map(lambda one: f"/run/{one}")),
    st.integers(1, 2**22).map(lambda pid: m.NamespaceSelector(process=m.ProcessSelector(pid=pid))),
    st.builds(m.NamespaceSelector, container_id=IDS),
    st.builds(m.NamespaceSelector, systemd_unit=IDS.map(lambda one: f"{one}.service")),
)
LIMITS = st.builds(
    m.NamespaceLimits, max_sockets=optional(U32), max_ephemeral=optional(U32), max_endpoints=optional(U32)
)
KINDS = st.one_of(
    st.builds(
        m.InetTarget, address=ADDRESSES, ports=ANY_PORTS, protocols=PROTOCOLS, mark=U32, device=IDS | st.just("")
    ).map(lambda inet: {"inet": inet}),
    st.binary(min_size=1, max_size=107).map(lambda path: {"unix": m.UnixTarget(path=path)}),
)


@st.composite
def exports(draw: st.DrawFn) -> m.ExportNamespaceResponse:
    """What graftd may answer, as far as a file has to hold it."""
    name = f"namespaces/{draw(IDS)}"
    found = m.ExportNamespaceResponse(
        namespace=m.Namespace(
            name=name,
            selector=draw(SELECTORS),
            labels=draw(LABELS),
            annotations=draw(st.dictionaries(IDS, WORDS, max_size=3)),
            transparent=draw(st.booleans()),
            transient=draw(st.booleans()),
        )
    )
    limits = draw(LIMITS)
    if limits.ByteSize():
        found.namespace.limits.CopyFrom(limits)
    for one in draw(st.lists(IDS, unique=True, max_size=3)):
        found.endpoints.endpoints.add(
            name=f"{name}/endpoints/{one}",
            target_namespace=draw(st.just("") | IDS.map(lambda other: f"namespaces/{other}")),
            max_sockets=draw(U32),
            privileged=draw(st.booleans()),
            labels=draw(LABELS),
            **draw(KINDS),
        )
    for one in draw(st.lists(IDS, unique=True, max_size=3)):
        direction = draw(st.sampled_from([m.RULE_DIRECTION_INGRESS, m.RULE_DIRECTION_EGRESS]))
        verdict = draw(st.sampled_from([m.RULE_VERDICT_ENDPOINT, m.RULE_VERDICT_NATIVE, m.RULE_VERDICT_DENY]))
        found.rules.rules.add(
            name=f"{name}/rules/{one}",
            direction=direction,
            network=draw(NETWORKS),
            protocols=draw(PROTOCOLS),
            ports=draw(optional(ANY_PORTS if direction == m.RULE_DIRECTION_INGRESS else PORTS)),
            verdict=verdict,
            endpoint=draw(IDS) if verdict == m.RULE_VERDICT_ENDPOINT else "",
        )
    for one in draw(st.lists(IDS, unique=True, max_size=3)):
        found.acl_rules.acl_rules.add(
            name=f"{name}/aclRules/{one}",
            action=draw(st.sampled_from([m.ACL_ACTION_ALLOW, m.ACL_ACTION_DENY])),
            endpoint=draw(IDS | st.just("")),
            verbs=draw(VERBS),
            uids=draw(optional(ID_RANGES)),
            gids=draw(optional(ID_RANGES)),
            own_ids=draw(st.booleans()),
            network=draw(NETWORKS),
            ports=draw(optional(PORTS)),
            protocols=draw(PROTOCOLS),
            local=draw(st.booleans()),
        )
    return found


def wanted(export: m.ExportNamespaceResponse) -> m.ApplyNamespaceRequest:
    """What apply has to ask for, so that nothing changes."""
    request = m.ApplyNamespaceRequest(name=export.namespace.name, allow_missing=True)
    request.namespace.CopyFrom(export.namespace)
    request.namespace.name = ""
    request.endpoints.CopyFrom(export.endpoints)
    request.rules.CopyFrom(export.rules)
    request.acl_rules.CopyFrom(export.acl_rules)
    return request


@settings(max_examples=60)
@given(st.lists(exports(), min_size=1, max_size=2))
def test_what_export_writes_is_what_apply_reads(found: list[m.ExportNamespaceResponse]) -> None:
    expected = [wanted(one) for one in found]
    values = [written(one) for one in found]
    assert [one.request for one in read(dump(values), "file")] == expected
    # JSON is YAML too, and a list of namespaces stands for several documents.
    assert [one.request for one in read(json.dumps(values), "file")] == expected


# Files by hand

HEAD = "name: web\nselector: {netns: web}\n"


def one(text: str) -> m.ApplyNamespaceRequest:
    (found,) = read(text, "f.yaml")
    return found.request


def test_a_file_written_by_hand() -> None:
    request = one(
        """\
# Comments, anchors and blocks are as in any YAML.
name: web
selector: {netns: web}
labels: {on: off, n: 5}
limits:
  max_sockets: 0
endpoints:
- {name: ep, type: ipv4, address: 10.0.0.2, ports: 80}
- name: range
  address: fd00::0002
  ports: 8000-8010
  protocols: tcp
  privileged: yes
  mark: 0x10
rules:
- {direction: ingress, ports: 80, endpoint: ep}
- {direction: egress, network: 10.0.0.2, verdict: deny}
acl: []
"""
    )
    assert dict(request.namespace.labels) == {"on": "off", "n": "5"}
    assert request.namespace.limits.HasField("max_sockets")
    assert not request.namespace.limits.HasField("max_ephemeral")
    first, second = request.endpoints.endpoints
    assert (first.inet.ports.low, first.inet.ports.high, list(first.inet.protocols)) == (80, 80, [])
    assert (second.inet.address, second.inet.mark, second.privileged) == ("fd00::2", 16, True)
    assert list(second.inet.protocols) == [m.PROTOCOL_TCP]
    assert [rule.name for rule in request.rules.rules] == ["", ""]
    assert request.rules.rules[1].network == "10.0.0.2/32"
    assert request.HasField("acl_rules")


def test_what_a_file_leaves_out_stays_as_it_is() -> None:
    request = one("name: web\nendpoints:\n")
    assert not request.HasField("namespace")
    assert request.HasField("endpoints")
    assert not request.HasField("rules")
    assert not request.HasField("acl_rules")
    assert not request.allow_missing
    assert one(HEAD).allow_missing


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: web\nendpionts: []\n", "f.yaml, line 2: unknown key 'endpionts': did you mean 'endpoints'?"),
        (
            f"{HEAD}endpoints:\n- name: e\n  adress: 10.0.0.2\n",
            "f.yaml, line 5: unknown key 'adress': did you mean 'address'?",
        ),
        (f"{HEAD}rules:\n- {{direction: ingress, prots: 5}}\n", "line 4: unknown key 'prots': did you mean 'ports'?"),
        (f"{HEAD}acl:\n- {{acton: deny}}\n", "line 4: unknown key 'acton': did you mean 'action'?"),
        ("name: web\nselector: {nets: web}\n", "line 2: unknown key 'nets': did you mean 'netns'?"),
        ("name: web\nselector: {netns: web, pid: 4}\n", "line 2: a selector says one of netns, path"),
        (f"{HEAD}limits: {{max_socket: 5}}\n", "line 3: unknown key 'max_socket': did you mean 'max_sockets'?"),
        (f"{HEAD}xyz: 1\n", "line 3: unknown key 'xyz': expected name, selector, labels"),
        ("selector: {netns: web}\n", "line 1: 'name' is missing: say name: web"),
        ("name: web\nname: web\n", "line 2: 'name' is said twice: once is enough"),
        ("name: [a]\n", "line 1: 'name' is one word"),
        ("- 5\n", "line 1: a namespace is a mapping of name"),
        ("5\n", "line 1: a namespace is a mapping of name"),
        ("name: web\nlabels: {a: b}\n", "line 1: 'labels' needs the selector beside it"),
        (f"{HEAD}labels: [a]\n", "line 3: 'labels' is a mapping of words to words"),
        (f"{HEAD}endpoints: {{a: b}}\n", "line 3: 'endpoints' is a list; write [] where there are to be none"),
        (f"{HEAD}endpoints:\n- {{address: 10.0.0.2, ports: 80}}\n", "line 4: 'name' is missing: say name: ep-http"),
        (f"{HEAD}endpoints:\n- {{name: e, ports: 80}}\n", "line 4: 'address' is missing: say address: 10.0.0.2"),
        (f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2}}\n", "line 4: 'ports' is missing: say ports: 80, any or"),
        (f"{HEAD}endpoints:\n- name: e\n  address: 10.0.0\n", "line 5: address: '10.0.0' is no address"),
        (f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2, ports: 99999}}\n", "line 4: ports: '99999' is no port"),
        (
            f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2, ports: 1, type: ipv6}}\n",
            "line 4: '10.0.0.2' is not of type",
        ),
        (f"{HEAD}endpoints:\n- {{name: e, path: x}}\n", "line 4: path: 'x' is no abstract name: write '@x'"),
        (f"{HEAD}endpoints:\n- {{name: e, path: '@x', ports: 5}}\n", "line 4: an endpoint with a path has no 'ports'"),
        (
            f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2, ports: 1, protocols: [icmp]}}\n",
            "protocols: unknown protocol",
        ),
        (
            f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2, ports: 1, protocols: []}}\n",
            "'protocols' is a list of words",
        ),
        (
            f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2, ports: 1, privileged: 2}}\n",
            "'privileged' is true or false",
        ),
        (f"{HEAD}endpoints:\n- {{name: e, address: 10.0.0.2, ports: 1, mark: -1}}\n", "mark: '-1' is no number"),
        (
            f"{HEAD}rules:\n- {{ports: 80, endpoint: e}}\n",
            "line 4: 'direction' is missing: say direction: ingress or egress",
        ),
        (f"{HEAD}rules:\n- {{direction: ingres, endpoint: e}}\n", "line 4: unknown direction 'ingres': did you mean"),
        (f"{HEAD}rules:\n- {{direction: ingress}}\n", "line 4: what the rule decides is missing: say endpoint: NAME"),
        (
            f"{HEAD}rules:\n- {{direction: ingress, verdict: deny, endpoint: e}}\n",
            "line 4: a rule names an endpoint, or",
        ),
        (
            f"{HEAD}rules:\n- {{direction: egress, ports: any, endpoint: e}}\n",
            "line 4: ports: 'any' is no port of a dest",
        ),
        (
            f"{HEAD}rules:\n- {{direction: egress, network: 10.0.0.1/8, endpoint: e}}\n",
            "has bits set beyond its prefix",
        ),
        (f"{HEAD}acl:\n- {{endpoint: e}}\n", "line 4: 'action' is missing: say action: allow or deny"),
        (f"{HEAD}acl:\n- {{action: allow, uids: 9-1}}\n", "line 4: uids: "),
        ("name: web\n  bad: [\n", "f.yaml, line 2: this is no YAML"),
        ("name: 'web\n", "this is no YAML"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        list(read(text, "f.yaml"))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("f.yaml, line ")


# Commands


def test_export_then_apply_changes_nothing(bed: Bed) -> None:
    file = bed.folder / "web.yaml"
    text = bed.run("export").out
    file.write_text(text, encoding="utf-8")
    revision = bed.fake.revision
    assert bed.run(f"diff -f {file}") == (0, "", "")
    assert bed.run(f"apply -f {file}") == (0, "namespaces/web unchanged\n", "")
    assert bed.run("diff -f -", stdin=bed.run("export web -o json").out) == (0, "", "")
    assert bed.fake.revision == revision
    # The same onto a graftd that has nothing, and the other way round.
    with running() as other:
        assert other.run(f"diff -f {file}").status == exits.DIFFERENT
        assert other.run(f"apply -f {file}").status == 0
        assert other.run("export").out == text


def test_diff_tells_what_apply_would_do(bed: Bed) -> None:
    value = yaml.safe_load(bed.run("export web").out)
    value["labels"]["tier"] = "back"
    value["endpoints"][0]["ports"] = 8080
    value["endpoints"].append({"name": "new", "path": "@x"})
    del value["rules"][1]
    value["rules"].append({"direction": "egress", "verdict": "deny"})
    value["acl"] = []
    text = yaml.safe_dump(value)
    revision = bed.fake.revision
    done = bed.run("diff -f -", stdin=text)
    assert done.status == exits.DIFFERENT
    assert done.out.splitlines() == [
        "~ web namespace netns web max-sockets 100 labels tier=back (was netns web max-sockets 100 labels tier=front)",
        "- web acl-rule a1: allow endpoint ep-out verb connect uid 0-99 to fd00:1::/64",
        (
            "~ web endpoint ep-http: type ipv4 addr 10.0.0.2 port 8080 proto tcp"
            " (was ep-http: type ipv4 addr 10.0.0.2 port 80 proto tcp)"
        ),
        "+ web endpoint new: type unix path @x",
        f"+ web rule made-{revision}-1: egress deny",
        "- web rule out: egress to fd00:1::/64 endpoint ep-out",
    ]
    dry = bed.run("apply -f - --dry-run", stdin=text)
    assert dry.status == 0
    assert dry.out == f"{done.out}namespaces/web 2 updated, 2 created, 2 deleted (dry run: nothing was done)\n"
    assert bed.fake.revision == revision
    assert bed.run("apply -f -", stdin=text).status == 0
    assert bed.fake.revision == revision + 1
    assert bed.run("diff -f -", stdin=text).status == 0
    assert bed.fake.rules[f"namespaces/web/rules/made-{revision}-1"].verdict == m.RULE_VERDICT_DENY


def test_a_nameless_rule_is_the_one_with_its_selector(bed: Bed) -> None:
    value = yaml.safe_load(bed.run("export web").out)
    del value["rules"][0]["id"], value["rules"][0]["endpoint"]
    value["rules"][0]["verdict"] = "native"
    done = bed.run("diff -f -", stdin=yaml.safe_dump(value))
    assert done.out == "~ web rule http: ingress port 80 native (was http: ingress port 80 endpoint ep-http)\n"


def test_a_nameless_acl_rule_is_the_one_that_says_the_same(bed: Bed) -> None:
    value = yaml.safe_load(bed.run("export web").out)
    del value["acl"][0]["id"]
    value["acl"].append({"action": "deny"})
    done = bed.run("diff -f -", stdin=yaml.safe_dump(value))
    assert done.out == f"+ web acl-rule made-{bed.fake.revision}-1: deny\n"


def test_diff_in_other_forms(bed: Bed) -> None:
    text = "name: web\nacl: []\n"
    done = bed.run("diff -f - -o json", stdin=text)
    assert done.status == exits.DIFFERENT
    assert done.json() == [
        {
            "name": "namespaces/web",
            "differences": [{"name": "namespaces/web/aclRules/a1", "kind": "deleted", "fields": []}],
        }
    ]
    assert bed.run("diff -f - -o name", stdin=text).out == "namespaces/web/aclRules/a1\n"


def test_several_namespaces(bed: Bed) -> None:
    text = "name: a\nselector: {netns: a}\n---\nname: b\nselector: {path: /run/b}\nendpoints: []\n"
    done = bed.run("apply -f -", stdin=text)
    assert (done.status, done.err) == (0, "")
    assert "namespaces/a 1 created\n" in done.out
    assert "namespaces/b 1 created\n" in done.out
    assert [yaml_one["name"] for yaml_one in yaml.safe_load_all(bed.run("export").out)] == ["a", "b", "web"]
    assert [yaml_one["name"] for yaml_one in yaml.safe_load_all(bed.run("export b a").out)] == ["b", "a"]
    assert yaml.safe_load(bed.run("export -n a").out)["name"] == "a"


def test_files_are_read_before_anything_is_done(bed: Bed) -> None:
    revision = bed.fake.revision
    text = "name: a\nselector: {netns: a}\n---\nname: b\nselectr: {}\n"
    assert bed.run("apply -f -", stdin=text).status == exits.USAGE
    twice = bed.run("apply -f -", stdin="name: a\nselector: {netns: a}\n---\nname: a\nselector: {netns: a}\n")
    assert "standard input, line 4: namespaces/a was in standard input, line 1 already" in twice.err
    assert bed.run("apply -f -", stdin="---\n").err == (
        "graftcli: standard input holds no namespace: graftcli export shows what one looks like\n"
    )
    assert bed.fake.revision == revision


def test_a_failure_says_where_and_what_was_done_before(bed: Bed) -> None:
    text = "name: a\nselector: {netns: a}\n---\nname: none\nrules: []\n"
    done = bed.run("apply -f -", stdin=text)
    assert done.status == exits.NOT_FOUND
    assert (
        "standard input, line 4, namespaces/none: there is no namespace namespaces/none (1 of 2 namespaces" in done.err
    )


def test_apply_asks_for_sockets_to_be_ended(bed: Bed) -> None:
    done = bed.run("apply -f - --abort-sockets", stdin="name: web\nacl: []\n")
    assert done.err == "2 live sockets aborted\n"
    assert bed.asked("ApplyNamespace").abort_sockets
