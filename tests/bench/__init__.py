# SPDX-License-Identifier: Apache-2.0
"""Instructions per operation, graft beside host."""
