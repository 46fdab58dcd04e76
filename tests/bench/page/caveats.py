# SPDX-License-Identifier: Apache-2.0
"""What the figures do not say, what was not run, and how the run was made."""

from __future__ import annotations

from bench.page.markup import Group, Html, bullets, element, join, table
from bench.record import Machine, Missing, Report

_WIRE = (
    "There is no 40 Gbit/s wire and no network card: the paths are veth pairs inside {} machine. Nothing here shows "
    "what a card and its offloads do, nor where a wire is the limit."
)
_SHARED = (
    "The host and the 'other machine' are namespaces of one kernel and share its processors: what one end saves, the "
    "other may use. Ratios of times therefore understate or overstate those between two machines."
)
_EMULATED = (
    "An emulated processor makes some instructions dearer than others in other proportions than a real one does, and "
    "has no caches of its own."
)
_CONTAINERS = (
    "Two containers are held against each other on a host without rules of NAT. Where the host has some, as those of "
    "container engines do, it tracks the connections that go through its own stack, grafted ones too, while frames "
    "between two containers behind its bridge pass none of it. The counts of such a host stand under their own name."
)
_QUOTE = (
    "The ratios of instructions are the ones to quote: they are taken on a clock that counts instructions, in "
    "interleaved rounds of one guest, and do not depend on what else the machine does. They say nothing of cache "
    "misses or of waiting."
)


def emulated(machine: Machine) -> bool:
    """Tell whether the processor of the guests was played by a program."""
    return machine.accelerator.lower().startswith("tcg")


def of_times(machine: Machine) -> str:
    """Say in a sentence how far times may be trusted."""
    if emulated(machine):
        return "Times, taken under emulation: they rank the paths and are no speeds to quote."
    return "Times, taken in a virtual machine whose host may have had other work: they are no speeds of a network."


def not_reproduced(machine: Machine) -> Html:
    """Return what this bench cannot reproduce of the paper."""
    return bullets(
        (
            _WIRE.format("an emulated" if emulated(machine) else "a virtual"),
            _SHARED,
            of_times(machine),
            _EMULATED,
            _QUOTE,
            _CONTAINERS,
        )
    )


def missing(found: tuple[Missing, ...]) -> Html:
    """Return the table of what was not run, and why."""
    rows = [(lack.key, lack.path, lack.reason) for lack in found]
    return table(element("strong", "Not run"), "words", ("measure", "path", "reason"), [Group("", rows)], text=3)


def how(report: Report) -> Html:
    """Return the machine, and each part's command line."""
    machine = report.machine
    facts = (
        ("processor", f"{machine.processor}, {machine.processors} for use"),
        ("system", machine.system),
        ("QEMU", machine.qemu),
        ("accelerator", machine.accelerator),
        ("kernel of the guests", machine.kernel),
        ("commit", machine.commit + (", with changes that are in no commit" if machine.changed else "")),
        ("began", report.began),
        ("took", duration(report.seconds)),
    )
    commands = [("all", report.command), *report.commands.items()]
    return join(
        (
            table(element("strong", "Machine"), "words", ("", ""), [Group("", facts)], text=2),
            table(
                element("strong", "Command lines"),
                "words",
                ("part", "command"),
                [Group("", [(part, element("code", line)) for part, line in commands])],
                text=2,
            ),
        )
    )


def duration(seconds: float) -> str:
    """Return a duration in minutes, or in seconds where it is shorter than two minutes."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
