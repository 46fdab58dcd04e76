# SPDX-License-Identifier: Apache-2.0
"""A process of its own that writes to a store, to be killed or confined: writes PATH [FAILPOINT].

It prints the number of each round that it may acknowledge.
"""

import os
import signal
import sys
from pathlib import Path

from graftd.store import Limits, Store
from unit.store_values import content, endpoint, namespace

NAMESPACES = 3


def run(path: Path, failpoint: str) -> None:
    def reached(name: str) -> None:
        if name == failpoint and armed:
            os.kill(os.getpid(), signal.SIGKILL)

    armed = failpoint == "in-migration"
    with Store.open(path, limits=Limits(changes=100, requests=10), failpoint=reached) as store:
        with store.transaction() as transaction:
            if transaction.find_namespace("single") is None:
                transaction.create_namespace(namespace("single"))
            number = transaction.count_endpoints("single")
        print("ready", flush=True)
        while True:
            number += 1
            armed = number % 5 == 0
            name = f"n{number % NAMESPACES}"
            with store.transaction() as transaction:
                transaction.apply(namespace(name), name, content(number, size=5 + number % 7))
                transaction.create_endpoint("single", endpoint(f"s{number}"))
                transaction.remember("0", f"id-{number}", b"", b"")
            print(number, flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
