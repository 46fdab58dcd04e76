# SPDX-License-Identifier: Apache-2.0
"""graftd alone: times and memory of the service, the kernel played."""
