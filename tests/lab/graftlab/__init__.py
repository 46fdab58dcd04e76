# SPDX-License-Identifier: Apache-2.0
"""The lab: guests with real Debian kernels, their images, and a verdict on their consoles."""
