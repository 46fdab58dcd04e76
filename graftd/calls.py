# SPDX-License-Identifier: Apache-2.0
"""What is recorded of calls, and of who was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from graftd import log
from graftd.api.gate import Outcome
from graftd.api.peer import Peer
from graftd.metrics import Metrics
from graftd.refusals import Refusals

_LEFT_OUT_SECONDS = 60.0  # between two records of refusals that have none of their own


class CallRecords:
    """The gate's witness. In the event loop."""

    def __init__(
        self, records: log.Log, metrics: Metrics, identity: Callable[[Peer], str], loop: asyncio.AbstractEventLoop
    ) -> None:
        """identity: who a peer is, for what is counted by caller."""
        self._records = records
        self._metrics = metrics
        self._identity = identity
        self._loop = loop
        self._log = log.logger()
        self._refusals = Refusals()
        self._left_out: asyncio.TimerHandle | None = None  # when it is told how many had no record

    def refused(self, peer: Peer | None, sentence: str) -> None:
        """A connection was closed."""
        if self._has_record(peer):
            self._log.warning("a connection was closed", detail=sentence, caller=peer.caller if peer else "")

    def tell_left_out(self) -> None:
        """Record how many refusals have had no record, if any; at the end as well."""
        if self._left_out is not None:
            self._left_out.cancel()
            self._left_out = None
            self._records.audit_left_out(self._refusals.take_left_out())

    def ended(self, outcome: Outcome) -> None:
        """As Witness of the gate."""
        self._metrics.rpc_ended(outcome.method, outcome.code, outcome.seconds)
        if outcome.error is not None:
            self._log.error(outcome.message, method=outcome.method, exc_info=outcome.error)
        denied = outcome.code in ("PERMISSION_DENIED", "UNAUTHENTICATED")
        if not (outcome.changes or denied):
            return
        # What who may make a change asked for always has a record, unless that very thing was denied.
        if (denied or not outcome.admitted) and not self._has_record(outcome.peer):
            return
        peer = outcome.peer
        self._records.audit(
            who=_who(peer),
            where=peer.socket_name if peer is not None else "an unknown socket",
            method=outcome.method,
            resource=outcome.resource,
            outcome=(log.Outcome.DONE if not outcome.reason else log.Outcome.REFUSED if denied else log.Outcome.FAILED),
            detail=outcome.message,
            reason=outcome.reason,
        )

    def _has_record(self, peer: Peer | None) -> bool:
        """Whether a refusal gets a record of its own."""
        if self._refusals.admit("somebody unknown" if peer is None else self._identity(peer)):
            return True
        self._metrics.refusals_left_out.add()
        if self._left_out is None:
            self._left_out = self._loop.call_later(_LEFT_OUT_SECONDS, self.tell_left_out)
        return False


def _who(peer: Peer | None) -> dict[str, object]:
    if peer is None:
        return {}
    if peer.uid is None:
        return {"certificate": " ".join(peer.certificate_names), "address": peer.address, "port": peer.port}
    return {"uid": peer.uid, "pid": peer.pid, "netns": peer.netns_cookie}
