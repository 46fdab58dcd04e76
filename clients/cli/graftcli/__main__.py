# SPDX-License-Identifier: Apache-2.0
"""python3 -m graftcli"""

import sys

from graftcli.main import main

sys.exit(main())
