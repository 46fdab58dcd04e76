# SPDX-License-Identifier: Apache-2.0
"""What a guest's kernel console says about the kernel's health."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_START = r"(?:^|\]\s?)"  # of a message, after its time and its caller
# Each is a phrase with which some part of the kernel reports that something is broken.
_SIGNS = re.compile(
    "|".join(
        (
            r"\bBUG: ",  # page faults, KASAN, sleeping functions, soft lockups
            _START + r"WARNING: ",  # WARN_ON, lockdep, suspicious RCU usage
            _START + r"BUG [\w-]+ \(",  # slab objects
            r"\bkernel BUG at ",
            r"\bOops\b",
            r"\b(?:int3|invalid opcode|divide error|stack segment): 0000 \[#",
            r"\bkernel tried to execute NX-protected page\b",
            r"\bKernel panic\b",
            r"\bPANIC: ",
            r"\b[Gg]eneral protection fault\b",
            r"\bdouble fault\b",
            r"\bUnable to handle kernel\b",
            r"\bINFO: (?:possible|suspicious|trying to register|task .* blocked for more than|rcu)",
            r"\brcu: INFO: ",
            r"\brefcount_t: ",
            r"\bunregister_netdevice: waiting for ",
            r"\bkmemleak: \d+ new suspected memory leaks",
            r"\bref_tracker: ",
            r"\bODEBUG: ",
            r"\bUBSAN: ",
            r"\blist_(?:add|del) corruption\b",
            r"\bAttempt to release (?:TCP socket|alive inet socket)\b",
            r"\bsk_free: optmem leakage\b",
            r"\bVoluntary context switch within RCU\b",
            r"\blab: graft\.ko cannot be unloaded\b",  # the guest's init, after a run on the debug kernel
            r"\bkobject: .* tried to init an initialized object\b",
        )
    )
)
_INT3 = re.compile(r"\bint3: 0000 \[#")
_OUR_FRAME = re.compile(r"\[graft\]")
# The rule that opens a report stands before the line that tells.
_LEAD_LINES = 2
_LONGEST = 400


@dataclass(frozen=True)
class Splat:
    """A report of the kernel about itself, and what followed it on the console.

    ``title`` is the line that gave it away; ``count`` such lines are on the console.
    """

    title: str
    count: int
    lines: tuple[str, ...]

    @property
    def is_ours(self) -> bool:
        """Whether code of graft.ko stands in a trace."""
        return any(_OUR_FRAME.search(line) for line in self.lines)

    @property
    def is_emulators_fault(self) -> bool:
        """Whether it begins with an int3 oops in which no code of ours takes part.

        Emulated processors now and then execute a breakpoint that the kernel was just replacing while it
        patched its own code.
        """
        return bool(_INT3.search(self.title)) and not self.is_ours

    def shown(self) -> list[str]:
        """Return the lines to show to a person, cut where they are very many."""
        rest = len(self.lines) - _LONGEST
        return [*self.lines[:_LONGEST], *([f"({rest} more lines)"] if rest > 0 else [])]


def find_splat(console: Sequence[str]) -> Splat | None:
    """Return the first report on a console with all that followed, or None for a silent one."""
    signs = [index for index, line in enumerate(console) if _SIGNS.search(line)]
    if not signs:
        return None
    first = signs[0]
    lines = tuple(line for line in console[max(0, first - _LEAD_LINES) :] if line)
    return Splat(console[first].strip(), len(signs), lines)
