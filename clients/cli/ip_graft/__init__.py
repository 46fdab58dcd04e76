# SPDX-License-Identifier: Apache-2.0
"""ip-graft: endpoint tables from the command line, straight to the kernel."""
