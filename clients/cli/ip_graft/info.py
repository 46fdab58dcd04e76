# SPDX-License-Identifier: Apache-2.0
"""ip-graft info"""

from ip_graft.session import Session
from ip_graft.words import Words

USAGE = """\
Usage: ip-graft info

Tells the loaded module's version, the number that AF_GRAFT has, what it can do, and which process
has claimed the tables written from this namespace.
"""


def run(session: Session, words: Words) -> None:
    words.end()
    info = session.client().info()
    session.show(
        [
            {
                "version": info.version,
                "family": info.family,
                "ipv6": info.ipv6,
                "sol_socket": info.sol_socket,
                "claimant": info.claimant or None,
                "claimant_pid": info.claimant_pid or None,
            }
        ],
        [
            f"version {info.version} family {info.family}"
            f" ipv6 {'on' if info.ipv6 else 'off'}"
            f" sol-socket {'on' if info.sol_socket else 'off'}"
            + (f" claimed by {info.claimant} (pid {info.claimant_pid})" if info.claimant else "")
        ],
    )
