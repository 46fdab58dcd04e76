# SPDX-License-Identifier: Apache-2.0
"""What the tables are to be: kept in SQLite, durable before it is acknowledged."""

from graftd.store._restore import CopyInfo
from graftd.store._transaction import Limits, Transaction
from graftd.store._view import ALL, Snapshot, View
from graftd.store.store import Store

__all__ = ["ALL", "CopyInfo", "Limits", "Snapshot", "Store", "Transaction", "View"]
