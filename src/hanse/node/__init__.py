"""The node agent: fetches, verifies, runs, reports, serves.

`build_node(ports, config)` is called by the app and the twin alike. A node takes no decisions about placement: it
verifies a signed order, asks its owner's own policy, and makes it so; it deletes nothing on silence.
"""

from hanse.node.agent import NodeAgent, build_node
from hanse.node.config import NodeConfig

__all__ = ["NodeAgent", "NodeConfig", "build_node"]
