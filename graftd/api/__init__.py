# SPDX-License-Identifier: Apache-2.0
"""The service as gRPC tells it: what is asked becomes values of the model, what is told becomes messages."""
