# SPDX-License-Identifier: Apache-2.0
"""Which network namespace a selector stands for, and when that may have changed.

Nothing found is kept open, and nothing is known by its pid or inode: see `Finder.identity`.
"""

from graftd.kernel.finder._finder import Finder
from graftd.kernel.finder._roots import FinderRoots
from graftd.kernel.finder._watcher import Watcher

__all__ = ["Finder", "FinderRoots", "Watcher"]
