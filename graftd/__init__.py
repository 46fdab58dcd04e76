# SPDX-License-Identifier: Apache-2.0
"""The control plane of socket grafting."""

__version__ = "0.1.0"
