# SPDX-License-Identifier: Apache-2.0
"""Every test, on every kernel."""
