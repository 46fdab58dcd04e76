# SPDX-License-Identifier: Apache-2.0
"""Every script, by the place below /usr/share at which its shell looks for it."""

from __future__ import annotations

from graft_completion import flat, ip_graft
from graft_completion.flat import Program
from graft_man import sources
from graftcli.completion import script

BASH = "bash-completion/completions/{}"
ZSH = "zsh/vendor-completions/_{}"
FISH = "fish/vendor_completions.d/{}.fish"


def scripts() -> dict[str, str]:
    found = {}
    for place, shell in ((BASH, "bash"), (ZSH, "zsh"), (FISH, "fish")):
        found[place.format("graftcli")] = script(shell)
    for program in (
        Program("graftd", tuple(sources.graftd_options())),
        Program("graft", sources.graft().options, runs=True),
        Program("graft-transparent", sources.GRAFT_TRANSPARENT_FLAGS, verbs=sources.graft_transparent()),
    ):
        for place, made in ((BASH, flat.bash), (ZSH, flat.zsh), (FISH, flat.fish)):
            found[place.format(program.name)] = made(program)
    for place, text in ((BASH, ip_graft.bash()), (ZSH, ip_graft.zsh()), (FISH, ip_graft.fish())):
        found[place.format("ip-graft")] = text
    return found
