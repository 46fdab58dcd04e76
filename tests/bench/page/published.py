# SPDX-License-Identifier: Apache-2.0
"""What was published about AF_GRAFT, to stand beside this run's figures.

The paper: Ryo Nakamura, Yuji Sekiya, Hajime Tazaki, "Grafting sockets for fast container networking", ANCS 2018, DOI
10.1145/3230718.3230723. Its abstract says that the method "doubled throughput and reduced latency by 23% compared with
traditional NAT-based container networking". The statements of its evaluation are those that the benchmarks were asked
to repeat. The authors' files hold means over their runs: github.com/upa/graft-bench, iperf3/dat/*.dat (commit 431f663;
b6613f9 and 38d3759 for two containers) and sockperf/dat/latency-*.dat (2cb1089, 9078e1e).
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = (
    "R. Nakamura, Y. Sekiya, H. Tazaki: Grafting sockets for fast container networking. ANCS 2018. "
    "DOI 10.1145/3230718.3230723"
)
FILES = "means over the runs in the data files of the paper's authors, github.com/upa/graft-bench"

THROUGHPUT = "tcp-throughput"
LATENCY = "tcp-latency"
CONTAINERS = "containers"
UDP = "udp"


@dataclass(frozen=True)
class Published:
    """A ratio that was published: of ``path`` to ``other``, in the section ``section`` of the page.

    ``longer`` tells that it is a ratio of times, more than 1 being slower, otherwise one of speeds. ``paper`` is what
    the paper says, empty where that was not found; ``files`` is what the authors' data files give. ``udp`` tells that
    it is of UDP.
    """

    section: str
    what: str
    path: str
    other: str
    longer: bool
    paper: str
    files: str
    udp: bool = False


# Gbit/s: one flow, the container sending: host 35.97, graft 35.93, NAT 18.00; receiving: 35.73, 36.75, 17.49.
# Two containers: graft 72.88 and 73.14, bridge 56.00 and 23.98. Microseconds: TCP: host 6.614, graft 6.842, NAT 8.824;
# UDP: 6.326, 6.514, 8.118.
PUBLISHED = (
    Published(
        THROUGHPUT,
        "TCP throughput",
        "nat",
        "host",
        False,
        "less than half, at 40 Gbit/s",
        "0.50 sending, 0.49 receiving",
    ),
    Published(THROUGHPUT, "TCP throughput", "graft", "host", False, "equal", "1.00 sending, 1.03 receiving"),
    Published(THROUGHPUT, "TCP throughput", "graft", "nat", False, "doubled", "2.00 sending, 2.10 receiving"),
    Published(LATENCY, "TCP latency", "nat", "host", True, "1.3", "1.33"),
    Published(LATENCY, "TCP latency", "graft", "host", True, "equal", "1.03"),
    Published(LATENCY, "TCP latency", "graft", "nat", True, "0.77 (23 % less)", "0.78"),
    Published(
        CONTAINERS, "TCP throughput of two containers", "graft", "bridge", False, "", "1.30 sending, 3.05 receiving"
    ),
    Published(UDP, "UDP latency", "nat", "host", True, "", "1.28", udp=True),
    Published(UDP, "UDP latency", "graft", "host", True, "", "1.03", udp=True),
)
