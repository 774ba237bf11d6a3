"""The controller: turns specs and reports into plans and orders, under a leader's lease.

`build_control(ports, config)` is called by the app and the twin alike. The decisions are `policy`, `placement` and
`rollout`; this package reads the world into a snapshot, asks them, and carries the answer out.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hanse.control.config import ControlConfig
    from hanse.control.controller import Controller, build_control

__all__ = ["ControlConfig", "Controller", "build_control"]


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): a client needs `hanse.control.views` without policy, solvers and certificates."""
    if name == "ControlConfig":
        from hanse.control.config import ControlConfig

        return ControlConfig
    if name in __all__:
        from hanse.control import controller

        return getattr(controller, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
