"""The controller: turns specs and reports into plans and orders, under a leader's lease.

`build_control(ports, config)` is called by the app and the twin alike. The decisions are `policy`, `placement` and
`rollout`; this package reads the world into a snapshot, asks them, and carries the answer out.
"""

from hanse.control.config import ControlConfig
from hanse.control.controller import Controller, build_control

__all__ = ["ControlConfig", "Controller", "build_control"]
