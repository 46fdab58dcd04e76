# SPDX-License-Identifier: Apache-2.0
"""A client of graftd.

    from graft_client import connect, messages

    with connect() as graftd:
        for endpoint in graftd.endpoints("namespaces/web"):
            print(endpoint.name, endpoint.inet.address)

What is sent and returned are the contract's own messages (proto/graft/v1). Everything that fails raises GraftdError.
"""

from graft_client._client import Client, connect
from graft_client._errors import FieldViolation, GraftdError
from graft_client._target import Tls, probe
from graft_client._watch import Batch

__all__ = ["Batch", "Client", "FieldViolation", "GraftdError", "Tls", "connect", "probe"]
