# SPDX-License-Identifier: Apache-2.0
"""Every message and enum of graft.v1 under one name."""

from graft.v1.acl_pb2 import *  # noqa: F403
from graft.v1.common_pb2 import *  # noqa: F403
from graft.v1.endpoint_pb2 import *  # noqa: F403
from graft.v1.errors_pb2 import *  # noqa: F403
from graft.v1.namespace_pb2 import *  # noqa: F403
from graft.v1.node_pb2 import *  # noqa: F403
from graft.v1.rule_pb2 import *  # noqa: F403
from graft.v1.socket_pb2 import *  # noqa: F403
from graft.v1.watch_pb2 import *  # noqa: F403
