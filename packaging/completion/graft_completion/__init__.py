# SPDX-License-Identifier: Apache-2.0
"""What makes bash, zsh and fish complete the project's commands, made from what their --help is made of."""
