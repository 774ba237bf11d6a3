"""The errors of identity: why a name, a certificate, a token, a folder of keys or a sealed value was refused."""

from __future__ import annotations

from hanse.core.errors import HanseError


class IdentityError(HanseError):
    """Raised when an identity cannot be read, issued or believed; `code` (``identity.*``) names the broken rule."""

    code = "identity.invalid"


class SealingError(HanseError):
    """Raised when a value cannot be sealed or opened, or a sealing key is not its node's; the code is ``secret.*``."""

    code = "secret.unreadable"
