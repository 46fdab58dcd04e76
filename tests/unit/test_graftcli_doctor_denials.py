# SPDX-License-Identifier: Apache-2.0
"""What doctor says of what was refused, or stayed native, lately."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import grpc
import pytest

from graft_client import messages as m
from graftcli.doctor.finding import NOTE, WARNING
from graftcli.doctor.reasons import EXPLANATIONS, explain
from graftcli.forms import word
from unit.doctor_bed import PROCESS, Machine, codes, examined, filled
from unit.graftcli_bed import Bed


@pytest.fixture
def bed() -> Iterator[Bed]:
    with filled() as one:
        yield one


@pytest.fixture
def machine() -> Machine:
    return Machine()


def denied(reason: m.GraftReason, pid: int = 12, **more: object) -> m.SocketEvent:
    return m.SocketEvent(
        namespace="namespaces/web",
        kind=m.SOCKET_EVENT_KIND_DENIED,
        reason=reason,
        error_number=errno.EACCES,
        endpoint="ep-http",
        verbs=[m.VERB_CONNECT],
        pid=pid,
        protocol=6,
        address=m.SocketAddress(address="192.0.2.1", port=443),
        detail="no ACL rule allows it",
        **more,  # type: ignore[arg-type]
    )


def test_denials_are_explained(bed: Bed, machine: Machine) -> None:
    bed.fake.events = [denied(m.GRAFT_REASON_ACL), denied(m.GRAFT_REASON_ACL), denied(m.GRAFT_REASON_CAPABLE, pid=9)]
    by_code = {one.code: one for one in examined(bed, machine)}
    assert set(by_code) == {"denied-acl", "denied-capable"}
    found = by_code["denied-acl"]
    assert found.cause.startswith(
        "pid 12's tcp connect 192.0.2.1:443 through ep-http was refused with EACCES, 2 times lately: no ACL rule allows"
    )
    assert found.cause.endswith("(the kernel: no ACL rule allows it)")
    assert found.remedy.startswith("graftcli -n web list-acl-rules --endpoint ep-http")
    machine.processes[9] = PROCESS
    assert codes(bed, machine, "web", 9) == ["denied-capable"]


def test_what_was_refused_to_a_namespace_that_is_gone_is_no_fault(bed: Bed, machine: Machine) -> None:
    event = denied(m.GRAFT_REASON_ACL)
    event.namespace = "namespaces/gone"
    bed.fake.events = [event]
    (found,) = examined(bed, machine, "")
    assert (found.level, found.code, found.subject) == (NOTE, "denied-acl", "gone, which is gone")


def test_where_namespaces_may_not_be_listed_a_denial_is_a_fault(bed: Bed, machine: Machine) -> None:
    bed.fake.events = [denied(m.GRAFT_REASON_ACL)]
    bed.fake.failures["ListNamespaces"] = [
        (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", "that is for admins")
    ] * 9
    found = {one.code: one for one in examined(bed, machine, "")}
    assert (found["denied-acl"].level, found["denied-acl"].subject) == (WARNING, "web")


def test_what_stayed_native_is_a_note(bed: Bed, machine: Machine) -> None:
    native = denied(m.GRAFT_REASON_NO_RULE)
    native.kind, native.endpoint, native.error_number, native.detail = m.SOCKET_EVENT_KIND_NATIVE, "", 0, ""
    bed.fake.events = [native]
    (found,) = examined(bed, machine)
    assert (found.level, found.code) == (NOTE, "native-no-rule")
    assert "graftcli -n web add-rule --direction egress --port 443 --endpoint NAME" in found.remedy


def test_counted_denials(bed: Bed, machine: Machine) -> None:
    counters = bed.fake.endpoints["namespaces/web/endpoints/ep-http"].counters
    counters.denials.add(reason=m.GRAFT_REASON_LOCAL, count=7)
    (found,) = examined(bed, machine)
    assert (found.level, found.code) == (NOTE, "counted-local")
    assert found.cause.startswith("7 denials since the module was loaded: the destination is an address of the target")


def test_every_reason_is_explained() -> None:
    enum = m.SocketEvent.DESCRIPTOR.fields_by_name["reason"].enum_type
    assert enum
    known = {word(enum, value.number) for value in enum.values} - {None}
    assert set(EXPLANATIONS) == known
    for found in EXPLANATIONS.values():
        filled = found.remedy.format(namespace="n", endpoint="e", address="a", port=1, direction="ingress")
        assert "{" not in filled
    assert "install a newer graftcli" in explain("99").remedy
