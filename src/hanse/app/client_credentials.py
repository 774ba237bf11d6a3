"""The client's calls about credentials that the domain holds. `operator, JWT, issuers -> views`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from hanse.control.certifying import CredentialView
from hanse.identity.credential import TrustedIssuer

T = TypeVar("T")


class CredentialCalls(ABC):
    """Part of `hanse.app.client.Client`."""

    @abstractmethod
    def _ask(self, method: str, path: str, kind: type[T], **more: Any) -> T:
        """Ask the API."""

    def credentials(self) -> tuple[CredentialView, ...]:
        """Credentials that the domain holds."""
        return self._ask("GET", "/api/v1/credentials", tuple[CredentialView, ...])

    def add_credential(
        self, operator: str, credential: str, subject: str, issuers: Sequence[TrustedIssuer]
    ) -> CredentialView:
        """Have the controller verify a credential and hold it against an operator."""
        listed = [
            {
                "did": one.did, "certifies": list(one.certifies), "sha256": one.document_sha256,
                "document": None if one.document is None else one.document.decode(),
            }
            for one in issuers
        ]  # fmt: skip
        body = {"operator": operator, "credential": credential, "subject": subject, "issuers": listed}
        return self._ask("POST", "/api/v1/credentials", CredentialView, json=body)

    def remove_credential(self, operator: str, credential: str) -> None:
        """Hold one no longer."""
        self._ask("DELETE", f"/api/v1/credentials/{operator}/{credential}", dict[str, str])
