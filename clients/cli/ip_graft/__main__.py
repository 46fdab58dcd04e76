# SPDX-License-Identifier: Apache-2.0
"""python3 -m ip_graft"""

import sys

from ip_graft.main import main

sys.exit(main())
