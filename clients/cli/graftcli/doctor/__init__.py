# SPDX-License-Identifier: Apache-2.0
"""doctor: finds out, layer by layer, why something is not grafted, and what to do.

A check is a function that looks at Facts and yields Findings. To add one, write it into the module of its layer and
into the list here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from graftcli import exits
from graftcli.cmdline import Args
from graftcli.doctor import denials, namespace, native, process, service, table, target
from graftcli.doctor.facts import Facts
from graftcli.doctor.finding import ERROR, NOTE, WARNING, Finding
from graftcli.doctor.host import Host
from graftcli.fields import whole
from graftcli.output import counted
from graftcli.session import ALL, Session, namespace_name
from ip_graft.values import safe_sentence as safe

Check = Callable[[Facts], Iterator[Finding]]

# What is looked at although graftd cannot be asked.
LOCAL: tuple[Check, ...] = (service.module, process.process)
# From the bottom up: what is wrong below is often the cause of what is wrong above.
CHECKS: tuple[Check, ...] = (
    service.module,
    service.conditions,
    service.frozen,
    service.transparent,
    namespace.registered,
    namespace.present,
    namespace.frozen,
    namespace.in_sync,
    namespace.limits,
    namespace.content,
    namespace.unregistered,
    table.rules,
    table.dead_rules,
    table.acl,
    target.addresses,
    native.servers,
    process.process,
    process.sockets,
    denials.events,
    denials.counters,
)
_MOODS = {ERROR: "bad", WARNING: "warn", NOTE: None}


def examine(facts: Facts) -> Iterator[Finding]:
    """Every finding, layer by layer."""
    unreachable = list(service.reachable(facts))
    yield from unreachable
    for check in LOCAL if unreachable else CHECKS:
        yield from check(facts)
    if not unreachable:
        for what, why in facts.unasked.items():
            yield Finding(NOTE, "not-asked", what, f"graftd does not tell: {why}", "run this as root, or as an admin")


def run(session: Session, args: Args, host: Host | None = None) -> int:
    wanted = namespace_name(args.words[0]) if args.words else session.parent()
    pid = whole(args, "pid", 2**22) or 0
    facts = Facts(session.client, host or Host(), "" if wanted == ALL else wanted, pid)
    # What is as it should be comes last.
    found = sorted(examine(facts), key=lambda one: one.level == NOTE)
    if session.plain:
        session.write([one._asdict() for one in found])
    elif session.form == "name":
        for one in found:
            print(one.code)
    else:
        _print(session, found)
    return exits.FAULTY if any(one.level != NOTE for one in found) else exits.DONE


def _print(session: Session, found: list[Finding]) -> None:
    for one in found:
        print(f"{session.colors.paint(one.level, _MOODS[one.level])}: {safe(one.subject)}: {safe(one.cause)}")
        print(f"    {safe(one.remedy)}")
    faults = sum(one.level != NOTE for one in found)
    print(f"{counted(faults, 'fault')} found" if faults else "nothing wrong was found")
