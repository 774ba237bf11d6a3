"""Rules that an owner lays over the fabric: a domain's bind every namespace, a namespace's bind its workloads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One `Policy` manifest as accepted: packs that it binds, and rules of its own. It can only narrow."""

    name: str
    namespace: str = ""
    """The namespace whose workloads it binds; empty for the domain: every namespace."""
    about: str = ""
    packs: tuple[str, ...] = ()
    """Names of packs that hold for whatever it binds, as if each spec named them."""
    rules: str = ""
    """Cedar text, forbids only; the id of each rule begins with the policy's name."""
    properties: str = ""
    """Cedar text: what these rules, with the packs that they bind, must never let through; proved at each change."""
    as_of: str = ""
    """The day it was accepted (YYYY-MM-DD)."""

    @property
    def id(self) -> str:
        """``name``, or ``namespace.name``; rules come out as ``namespace.name.rule``."""
        return f"{self.namespace}.{self.name}" if self.namespace else self.name
