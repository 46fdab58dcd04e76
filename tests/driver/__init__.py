# SPDX-License-Identifier: Apache-2.0
"""What the drivers of tests, demo and figures share. Standard library only."""
