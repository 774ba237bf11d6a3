"""Certificates of the front and keys of token issuers, kept fresh: `files, addresses -> runtime`, whenever they change.

Whoever renews a certificate replaces its file; the node sees it within seconds and swaps it in memory. A file that
cannot be used is told in the log and leaves what is in force. Addresses of issuers are given by the node's owner alone,
never by a workload: fetching what a stranger names would reach into the owner's network.
"""

from __future__ import annotations

import asyncio
import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from hanse.adapters.keys import write_private
from hanse.core.errors import HanseError

log = structlog.get_logger("node")

LOOK_S = 2.0
"""How often files are looked at: one stat each."""
FETCH_S = 300.0
"""How often an issuer's address is asked; issuers announce a new key well before they sign with it."""
FETCH_DEADLINE_S = 10.0
MAX_JWKS_BYTES = 1 << 20


class Front(Protocol):
    """What takes them."""

    def set_front_tls(
        self, certificates: list[tuple[bytes, bytes]], *, client_auth: str, client_bundle_pem: bytes
    ) -> None:
        """Swap certificates and what clients have to show."""
        ...

    def set_issuer_keys(self, issuer: str, jwks: str) -> None:
        """Swap the keys of one issuer."""
        ...


class FrontFileError(HanseError):
    """Raised when a file of the front cannot be read, or an address may not be asked."""

    code = "front.file_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontFiles:
    """What a node's owner gave for the front."""

    certificates: tuple[tuple[str, str], ...] = ()
    """Chain and key, PEM."""
    client_auth: str = "none"
    client_ca: str | None = None
    issuers: Mapping[str, str]
    """Issuer -> file, or ``https`` address."""
    kept: Path
    """Folder for the last good answer of each address, so that a node starts without its uplink."""


class FrontKeeper:
    """Brings a front's files into it. `load` once before it serves, then `run`."""

    def __init__(self, files: FrontFiles, front: Front) -> None:
        self._files = files
        self._front = front
        self._seen: dict[str, tuple[object, ...]] = {}

    def load(self) -> None:
        """Read every file. Raises FrontFileError, and RuntimeFailure for contents that cannot be used.

        Addresses are asked by `run`; until then their last good answer counts.
        """
        if self._files.certificates:
            self._load_certificates()
        for issuer, place in sorted(self._files.issuers.items()):
            if not _is_address(place):
                self._load_issuer(issuer, place)
            elif (kept := self._kept(issuer)).exists():
                self._front.set_issuer_keys(issuer, _read(str(kept)).decode())

    async def run(self) -> None:
        """Follow changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_files(), name="front files")
            for issuer, place in sorted(self._files.issuers.items()):
                if _is_address(place):
                    tasks.create_task(self._follow_address(issuer, place), name=f"issuer {issuer}")

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Take up what has changed since the last look."""
        paths = [path for pair in self._files.certificates for path in pair]
        if self._files.client_ca is not None:
            paths.append(self._files.client_ca)
        # Each is looked at, so that one change is taken up once.
        changed = [path for path in paths if self._has_changed(path)]
        if changed:
            self._try("front certificate", self._load_certificates)
        for issuer, place in sorted(self._files.issuers.items()):
            if not _is_address(place) and self._has_changed(place):
                self._try(f"keys of {issuer}", partial(self._load_issuer, issuer, place))

    def _try(self, what: str, load: Callable[[], None]) -> None:
        try:
            load()
        except HanseError as error:
            # Half of a pair was replaced: the other half follows, and its change is seen then.
            log.warning("front.not_taken", what=what, code=error.code, reason=error.message)
        else:
            log.info("front.taken", what=what)

    def _load_certificates(self) -> None:
        files = self._files
        self._front.set_front_tls(
            [(self._read(chain), self._read(key)) for chain, key in files.certificates],
            client_auth=files.client_auth,
            client_bundle_pem=b"" if files.client_ca is None else self._read(files.client_ca),
        )

    def _load_issuer(self, issuer: str, place: str) -> None:
        self._front.set_issuer_keys(issuer, self._read(place).decode(errors="replace"))

    def _read(self, path: str) -> bytes:
        self._seen[path] = _state(path)
        return _read(path)

    def _has_changed(self, path: str) -> bool:
        state = _state(path)
        if self._seen.get(path) == state:
            return False
        self._seen[path] = state
        return bool(state)

    async def _follow_address(self, issuer: str, url: str) -> None:
        while True:
            try:
                jwks = await asyncio.to_thread(_fetch, url)
                self._front.set_issuer_keys(issuer, jwks.decode(errors="replace"))
                kept = self._kept(issuer)
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_private(kept, jwks)
            except (HanseError, OSError) as error:
                log.warning("front.not_taken", what=f"keys of {issuer}", reason=str(error))
            await asyncio.sleep(FETCH_S)

    def _kept(self, issuer: str) -> Path:
        return self._files.kept / f"{hashlib.sha256(issuer.encode()).hexdigest()[:32]}.jwks"


def _is_address(place: str) -> bool:
    return "://" in place


def _state(path: str) -> tuple[object, ...]:
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FrontFileError(f"{path}: {error.strerror}", hint="name a file that this user may read") from error


def _fetch(url: str) -> bytes:
    if not url.startswith("https://"):
        raise FrontFileError(f"{url} is not fetched", hint="keys are believed over https only; or name a file")
    try:
        with urllib.request.urlopen(url, timeout=FETCH_DEADLINE_S) as answer:  # noqa: S310 - https, named by the owner
            data: bytes = answer.read(MAX_JWKS_BYTES + 1)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise FrontFileError(f"{url} does not answer: {error}") from error
    if len(data) > MAX_JWKS_BYTES:
        raise FrontFileError(f"{url} answers with more than {MAX_JWKS_BYTES} bytes")
    return data
