# SPDX-License-Identifier: Apache-2.0
"""graftcli's grammar: what each command line asks graftd for, and the sentence that each wrong one gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from unit.graftcli_bed import Bed, running


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with running() as one:
        one.fill()
        yield one


def spelled(request: Message) -> str:
    """A request on one line, without its id."""
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        request.ClearField("request_id")
    return text_format.MessageToString(request, as_one_line=True).strip()


WEB = 'parent: "namespaces/web"'
INET = 'inet { address: "10.0.0.2" ports { low: 80 high: 80 } }'


@pytest.mark.parametrize(
    ("line", "method", "meaning"),
    [
        # The published grammar
        (
            "-n web add ep1 type ipv4 addr 10.0.0.2 port 80",
            "CreateEndpoint",
            f'{WEB} endpoint_id: "ep1" endpoint {{ {INET} }}',
        ),
        (
            "-n web add ep2 type ipv4 addr 10.0.0.2 port 80 netns edge",
            "CreateEndpoint",
            f'{WEB} endpoint_id: "ep2" endpoint {{ target_namespace: "namespaces/edge" {INET} }}',
        ),
        (
            "add ep3 t ipv6 ad fd00::2 po dynamic pro udp mark 0x10 dev eth0 max-sockets 5 privileged -n web",
            "CreateEndpoint",
            (
                f'{WEB} endpoint_id: "ep3" endpoint {{ inet {{ address: "fd00::2" ports {{ }} protocols: PROTOCOL_UDP'
                ' mark: 16 device: "eth0" } max_sockets: 5 privileged: true }'
            ),
        ),
        (
            "-n web add ep4 type unix path @a/b",
            "CreateEndpoint",
            f'{WEB} endpoint_id: "ep4" endpoint {{ unix {{ path: "a/b" }} }}',
        ),
        (
            "-n web change ep-http type ipv4 addr 10.0.0.2 port 80 abort",
            "UpdateEndpoint",
            (
                f'endpoint {{ name: "namespaces/web/endpoints/ep-http" {INET} }} update_mask {{ paths: "inet"'
                ' paths: "target_namespace" paths: "max_sockets" paths: "privileged" } abort_sockets: true'
            ),
        ),
        (
            "-n web replace ep5 type ipv4 addr 10.0.0.2 port 80",
            "UpdateEndpoint",
            (
                f'endpoint {{ name: "namespaces/web/endpoints/ep5" {INET} }} update_mask {{ paths: "inet"'
                ' paths: "target_namespace" paths: "max_sockets" paths: "privileged" } allow_missing: true'
            ),
        ),
        ("-n web del ep5", "DeleteEndpoint", 'name: "namespaces/web/endpoints/ep5"'),
        ("-n web delete ep4 abort", "DeleteEndpoint", 'name: "namespaces/web/endpoints/ep4" abort_sockets: true'),
        # Flags
        (
            "-n web add-endpoint f1 --address 10.0.0.2 --port 80",
            "CreateEndpoint",
            f'{WEB} endpoint_id: "f1" endpoint {{ {INET} }}',
        ),
        (
            (
                "add-endpoint -nweb f2 --type ipv6 --address=FD00::2 --port 8000-8010 --protocol tcp"
                " --target-namespace edge --mark 7 --device eth0 --max-sockets 9 --privileged"
                " -l a=b --label c=d --dry-run"
            ),
            "CreateEndpoint",
            (
                f'{WEB} endpoint_id: "f2" endpoint {{ target_namespace: "namespaces/edge" inet {{ address: "fd00::2"'
                ' ports { low: 8000 high: 8010 } protocols: PROTOCOL_TCP mark: 7 device: "eth0" } max_sockets: 9'
                ' privileged: true labels { key: "a" value: "b" } labels { key: "c" value: "d" } } validate_only: true'
            ),
        ),
        (
            r"-n web add-endpoint f3 --path '@\x00x'",
            "CreateEndpoint",
            f'{WEB} endpoint_id: "f3" endpoint {{ unix {{ path: "\\000x" }} }}',
        ),
        (
            "update-endpoint namespaces/web/endpoints/ep-http --port any --device '' --no-privileged",
            "UpdateEndpoint",
            (
                'endpoint { name: "namespaces/web/endpoints/ep-http" inet { ports { } } }'
                ' update_mask { paths: "inet.ports" paths: "inet.device" paths: "privileged" }'
            ),
        ),
        (
            "-n web delete-endpoint gone --allow-missing --abort-sockets --etag x",
            "DeleteEndpoint",
            'name: "namespaces/web/endpoints/gone" etag: "x" allow_missing: true abort_sockets: true',
        ),
        (
            "-n web add-rule --direction ingress --port any --native",
            "CreateRule",
            f"{WEB} rule {{ direction: RULE_DIRECTION_INGRESS ports {{ }} verdict: RULE_VERDICT_NATIVE }}",
        ),
        (
            "-n web add-rule r9 --direction egress --network 10.0.0.2 --protocol udp --port 53 --endpoint ep-out",
            "CreateRule",
            (
                f'{WEB} rule_id: "r9" rule {{ direction: RULE_DIRECTION_EGRESS network: "10.0.0.2/32"'
                " protocols: PROTOCOL_UDP ports { low: 53 high: 53 }"
                ' verdict: RULE_VERDICT_ENDPOINT endpoint: "ep-out" }'
            ),
        ),
        (
            "-n web add-rule r8 --direction ingress --protocol tcp,udp --deny",
            "CreateRule",
            f'{WEB} rule_id: "r8" rule {{ direction: RULE_DIRECTION_INGRESS verdict: RULE_VERDICT_DENY }}',
        ),
        (
            "-n web update-rule r9 --deny --network all",
            "UpdateRule",
            (
                'rule { name: "namespaces/web/rules/r9" verdict: RULE_VERDICT_DENY } update_mask { paths: "network"'
                ' paths: "verdict" paths: "endpoint" }'
            ),
        ),
        (
            "-n web list-rules --direction egress",
            "ListRules",
            f"{WEB} page_size: 1000 direction: RULE_DIRECTION_EGRESS",
        ),
        (
            (
                "-n web add-acl-rule --deny --uid 5 --gid 7-8 --own-ids --network fd00::/8 --port 53 --protocol udp"
                " --verb connect --index 1 --abort-sockets"
            ),
            "CreateAclRule",
            (
                f"{WEB} acl_rule {{ action: ACL_ACTION_DENY verbs: VERB_CONNECT uids {{ low: 5 high: 5 }}"
                ' gids { low: 7 high: 8 } own_ids: true network: "fd00::/8" ports { low: 53 high: 53 }'
                " protocols: PROTOCOL_UDP } index: 1 abort_sockets: true"
            ),
        ),
        (
            "-n web update-acl-rule a1 --no-own-ids --local --verb both",
            "UpdateAclRule",
            (
                'acl_rule { name: "namespaces/web/aclRules/a1" local: true }'
                ' update_mask { paths: "verbs" paths: "own_ids"'
                ' paths: "local" }'
            ),
        ),
        ("-n web move-acl-rule a1 --index 1", "MoveAclRule", 'name: "namespaces/web/aclRules/a1" index: 1'),
        (
            "add-namespace box --container abc --max-ephemeral 0 --annotation k=v",
            "CreateNamespace",
            (
                'namespace_id: "box" namespace { selector { container_id: "abc" } annotations { key: "k" value: "v" }'
                " limits { max_ephemeral: 0 } }"
            ),
        ),
        (
            "import old --unit web.service",
            "ImportNamespace",
            'namespace_id: "old" namespace { selector { systemd_unit: "web.service" } }',
        ),
        (
            "update-namespace web --pid 7 --max-endpoints 10",
            "UpdateNamespace",
            (
                'namespace { name: "namespaces/web" selector { process { pid: 7 } } limits { max_endpoints: 10 } }'
                ' update_mask { paths: "selector" paths: "limits.max_endpoints" }'
            ),
        ),
        ("delete-namespace box --force", "DeleteNamespace", 'name: "namespaces/box" force: true'),
        (
            "list-namespaces --absent",
            "ListNamespaces",
            "page_size: 1000 state: NAMESPACE_STATE_ABSENT view: NAMESPACE_VIEW_BASIC",
        ),
        ("freeze web --reason 'a b'", "FreezeNamespace", 'name: "namespaces/web" reason: "a b"'),
        ("unfreeze -n web", "UnfreezeNamespace", 'name: "namespaces/web"'),
        ("freeze --all --reason why", "Freeze", 'reason: "why"'),
        ("unfreeze -A", "Unfreeze", ""),
        ("-n web list-sockets --endpoint ep-http", "ListSockets", f'{WEB} page_size: 1000 endpoint: "ep-http"'),
        (
            "-n web abort-sockets 5 6",
            "AbortSockets",
            f'{WEB} sockets {{ names: "namespaces/web/sockets/5" names: "namespaces/web/sockets/6" }}',
        ),
        ("-n web abort-sockets --endpoint none", "AbortSockets", f'{WEB} endpoint: "none"'),
        ("-n gone abort-sockets --all", "AbortSockets", 'parent: "namespaces/gone" all: true'),
        ("reconcile -n web --dry-run", "Reconcile", 'namespace: "namespaces/web" validate_only: true'),
        ("list-tables --unregistered", "ListTables", "page_size: 1000 unregistered_only: true"),
    ],
)
def test_command_lines(bed: Bed, line: str, method: str, meaning: str) -> None:
    done = bed.run(line)
    assert (done.status, spelled(bed.asked(method))) == (0, meaning), done.err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", ""),
        ("-n web", "a command is missing: graftcli help lists them"),
        ("list-enpoints", "unknown command 'list-enpoints': did you mean 'list-endpoints'?"),
        ("frobnicate", "unknown command 'frobnicate': graftcli help lists them"),
        ("-n web add-endpoint", "NAME is missing: graftcli add-endpoint NAME"),
        ("show-endpoint a b -n web", "'b' is one word too many: nothing is expected there"),
        ("list-endpoints --lable a=b", "unknown option '--lable': did you mean '--label'?"),
        ("list-endpoints -x", "unknown option '-x': --help lists them"),
        ("list-endpoints --dry-run=yes", "'--dry-run' takes no value: leave '=yes' out"),
        ("list-endpoints -n", "NAME is missing after '-n': the namespace that is meant"),
        ("list-endpoints -n a -n b", "'--namespace' is said twice: once is enough"),
        ("list-endpoints -o jason", "unknown form of --output 'jason': did you mean 'json'?"),
        ("list-endpoints -n a -A", "-n names one namespace and -A means all: say one of them"),
        ("list-endpoints -n a/b", "'a/b' is no namespace: expected a name as in web"),
        ("list-endpoints -l a", "'a' is no value of --label: expected KEY=VALUE"),
        ("show-endpoint e", "which namespace is meant? Say -n NAME, or set GRAFT_NAMESPACE"),
        ("-n web add-endpoint e --port 80", "the address is missing: say --address 10.0.0.2, or --path @NAME"),
        (
            "-n web add-endpoint e --address 10.0.0.2",
            "the port is missing: say --port 80, --port any or --port 8000-8010",
        ),
        ("-n web add-endpoint e --address 10.0.0.300 --port 1", "'10.0.0.300' is no address: expected one as in"),
        ("-n web add-endpoint e --address fe80::1%eth0 --port 1", "write addr fe80::1 dev eth0"),
        ("-n web add-endpoint e --address 10.0.0.2 --port 9-1", "port range 9-1 is upside down: write 1-9"),
        (
            "-n web add-endpoint e --address 10.0.0.2 --port x",
            "'x' is no port: expected a number, or two as in 8000-8010",
        ),
        ("-n web add-endpoint e --type ipv6 --address 10.0.0.2 --port 1", "'10.0.0.2' is not of type ipv6"),
        ("-n web add-endpoint e --type ipv4 --path @x", "'path @x' is not of type ipv4: leave the type out"),
        ("-n web add-endpoint e --type unix --address 10.0.0.2 --port 1", "'10.0.0.2' is not of type unix"),
        ("-n web update-endpoint e --type unix --max-sockets 1", "'the address' is not of type unix"),
        ("-n web add-endpoint e --path x", "'x' is no abstract name: write '@x'"),
        ("-n web add-endpoint e --path @x --port 1", "an endpoint of type unix has no '--port': leave it out"),
        ("-n web update-endpoint e", "nothing is to be changed: say what, as in --port 8080"),
        ("-n web update-endpoint e --privileged --no-privileged", "exclude one another: say one of them"),
        ("-n web add-rule --native", "when it decides is missing: say --direction ingress or --direction egress"),
        ("-n web add-rule --direction ingress", "something is missing: say --endpoint, --native or --deny"),
        ("-n web add-rule --direction ingress --native --deny", "'--native' and '--deny' exclude one another"),
        ("-n web add-rule --direction egress --port any --deny", "'any' is no port of a destination, which is never 0"),
        (
            "-n web add-rule --direction egress --network 10.0.0.1/8 --deny",
            "has bits set beyond its prefix: 10.0.0.0/8",
        ),
        ("-n web add-acl-rule", "something is missing: say --allow or --deny"),
        ("-n web add-acl-rule --allow --index 0", "rules are counted from 1"),
        ("-n web update-rule r", "nothing is to be changed"),
        ("-n web update-acl-rule r", "nothing is to be changed"),
        ("add-namespace x", "something is missing: say --netns, --path, --pid, --container or --unit"),
        ("add-namespace x --netns a --pid 1", "'--netns' and '--pid' exclude one another"),
        ("add-namespace x --path rel", "'rel' is no path of a namespace: write it in full, from /"),
        ("add-namespace x --pid ten", "'ten' is no process id: expected a number from 0 to 4194304"),
        ("update-namespace web", "nothing is to be changed: say what, as in --max-sockets 100"),
        ("freeze", "which namespace is meant?"),
        ("freeze web --all", "'web' is one namespace and --all means all: say one of them"),
        ("-n web abort-sockets", "something is missing: say --endpoint or --all"),
        ("-n web abort-sockets 1 --all", "'--all' and cookies exclude one another"),
        ("-n web abort-sockets one", "'one' is no cookie"),
        ("apply", "which file? Say -f FILE, or -f - for standard input"),
        ("apply -f /nowhere/x.yaml", "/nowhere/x.yaml cannot be read: No such file or directory"),
        ("watch --recent 5", "'--recent' goes with --sockets: say that as well"),
        ("watch --sockets --after 5", "'--after' is about what graftd keeps, and not about --sockets"),
        ("watch -o yaml", "watch has no form yaml: say -o json for an object on each line"),
        ("watch --type endpiont", "unknown type of --type 'endpiont': did you mean 'endpoint'?"),
        ("watch --type namespace,rule", "unknown type of --type 'namespace,rule': did you mean 'namespace'?"),
        (
            "-n web add-rule --direction ingress,egress --deny",
            "unknown direction of --direction 'ingress,egress': did you mean 'ingress'?",
        ),
        ("completion tcsh", "unknown shell 'tcsh': expected bash, zsh or fish"),
        ("--timeout 0 status", "'0' is no timeout: expected a number of seconds from 1"),
        ("--tls-ca x status", "certificates come together: say --tls-ca, --tls-cert and --tls-key"),
        ("--target nowhere status", "'nowhere' is no target: expected unix:PATH or HOST:PORT"),
        ("-n web add e type ipv4 addr 10.0.0.2", "'port' is missing: an endpoint of type ipv4 needs port 80"),
        ("-n web add e addr 10.0.0.2 port 80", "'type' is missing: say type ipv4, type ipv6 or type unix"),
        ("-n web add e type ipv6 addr 10.0.0.2 port 80", "'10.0.0.2' is no ipv6 address: say type ipv4"),
        ("-n web add e type unix path @x port 80", "an endpoint of type unix has no 'port': leave it out"),
        ("-n web add e type ipv4 addr 10.0.0.2 port 80 abort", "a new endpoint has no live sockets to abort"),
        ("-n web add e type ipv4 addr 10.0.0.2 port 80 port 81", "'port' is said twice: once is enough"),
        ("-n web add e type ipv4 adr 10.0.0.2", "unknown keyword 'adr': did you mean 'addr'?"),
        ("-n web del e f", "unknown keyword 'f': expected abort"),
    ],
)
def test_what_makes_no_sense(bed: Bed, line: str, sentence: str) -> None:
    bed.fake.requests.clear()
    done = bed.run(line)
    assert done.status == 2
    assert done.out == ""
    assert sentence in done.err
    assert not line or done.err.startswith("graftcli: ")
    assert done.err.count("\n") == 1 or not line
    assert bed.fake.requests == []


def test_the_namespace_comes_from_the_environment_too(bed: Bed) -> None:
    assert bed.run("list-endpoints -o name", GRAFT_NAMESPACE="web").status == 0
    assert bed.asked("ListEndpoints").parent == "namespaces/web"
    bed.run("list-endpoints -A", GRAFT_NAMESPACE="web")
    assert bed.asked("ListEndpoints").parent == "namespaces/-"
    bed.run("list-endpoints -n other", GRAFT_NAMESPACE="web")
    assert bed.asked("ListEndpoints").parent == "namespaces/other"
    bed.run("list-endpoints")
    assert bed.asked("ListEndpoints").parent == "namespaces/-"


def test_labels_are_merged_under_the_etag_of_what_was_read(bed: Bed) -> None:
    before = bed.fake.endpoints["namespaces/web/endpoints/ep-out"].etag
    assert bed.run("-n web update-endpoint ep-out -l c=d --no-label a").status == 0
    assert bed.asked("UpdateEndpoint").endpoint.etag == before
    assert dict(bed.fake.endpoints["namespaces/web/endpoints/ep-out"].labels) == {"c": "d"}
    assert bed.run("update-namespace web -l x=y --annotation n=m").status == 0
    assert dict(bed.fake.namespaces["namespaces/web"].labels) == {"tier": "front", "x": "y"}
    assert bed.run("update-namespace web --no-label x --no-annotation n").status == 0
    assert dict(bed.fake.namespaces["namespaces/web"].annotations) == {}


def test_a_short_option_with_a_value_may_follow_others_before_the_command(bed: Bed) -> None:
    assert bed.run("-yn web list-endpoints").status == 0
    assert bed.asked("ListEndpoints").parent == "namespaces/web"


def test_words_after_two_dashes_are_no_options(bed: Bed) -> None:
    done = bed.words(["-n", "web", "show-endpoint", "--", "-x"])
    assert (done.status, bed.asked("GetEndpoint").name) == (3, "namespaces/web/endpoints/-x")
