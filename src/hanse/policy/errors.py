"""What goes wrong with rules and facts before any of them decides: `file, line, what, remedy`."""

from __future__ import annotations

from hanse.core.errors import HanseError


class PolicyError(HanseError):
    """Raised when a pack, a facts file or an owner's policy is wrong; nothing of it is used.

    `context` carries ``file`` and ``line`` (1-based; 0 where no single line is at fault); `hint` is the remedy.
    """

    code = "policy.invalid"

    @classmethod
    def at(cls, file: str, line: int, message: str, remedy: str) -> PolicyError:
        """Build the error for one place in one file."""
        return cls(f"{file}:{line}: {message}", hint=remedy, context={"file": file, "line": line})

    def within(self, file: str, before: int) -> PolicyError:
        """The same error in the file that holds the text at fault, whose first line follows line `before`."""
        inner = int(self.context["line"])
        message = self.message.removeprefix(f"{self.context['file']}:{inner}: ")
        return PolicyError.at(file, before + inner, message, self.hint)


class FactError(HanseError):
    """Raised when a supposed fact (`operator/X.parent=US`) cannot be read or is about nothing known."""

    code = "policy.fact"
    hint = "write SUBJECT.FIELD=VALUE, for example operator/nimbus.parent=US or adequacy/eea-us-dpf.until=2027-01-01"
