"""What users say of a secret: who may read it, what a place must show, for how long. Never its value."""

from __future__ import annotations

from dataclasses import dataclass, field

from hanse.core.ids import SecretId, WorkloadId
from hanse.core.time import HOUR_US
from hanse.core.work import Data, Sovereignty


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One `Secret` manifest as accepted. Its value is sealed to the domain and stands elsewhere."""

    namespace: str
    name: str
    about: str = ""
    readers: tuple[WorkloadId, ...] = ()
    """Workloads that may read it; none named: every workload of its namespace."""
    data: Data = field(default_factory=Data)
    """What it opens, and whose: joins what the workload says of itself where rules about places are asked."""
    sovereignty: Sovereignty = field(default_factory=Sovereignty)
    """What a place must show before the value is sent there."""
    rules: str = ""
    """Cedar text about the action ``read``, forbids only."""
    lease_us: int = HOUR_US
    """How long a node may use the value without asking again; 1 min..30 d."""

    @property
    def id(self) -> SecretId:
        """``namespace.name``."""
        return SecretId(f"{self.namespace}.{self.name}")
