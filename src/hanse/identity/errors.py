"""The one error of identity: why a name, a certificate, a token or a folder of keys was refused."""

from __future__ import annotations

from hanse.core.errors import HanseError


class IdentityError(HanseError):
    """Raised when an identity cannot be read, issued or believed; `code` (``identity.*``) names the broken rule."""

    code = "identity.invalid"
