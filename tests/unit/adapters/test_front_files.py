"""Files of the front: taken at the start, followed when they change, and never a reason to lose what is in force."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hanse.adapters.front_files import FrontFileError, FrontFiles, FrontKeeper
from hanse.core.errors import RuntimeFailure

ISSUER = "https://id.example"


class Front:
    """Remembers what it was given; refuses what says `bad`."""

    def __init__(self) -> None:
        self.tls: list[tuple[list[tuple[bytes, bytes]], str, bytes]] = []
        self.keys: list[tuple[str, str]] = []

    def set_front_tls(
        self, certificates: list[tuple[bytes, bytes]], *, client_auth: str, client_bundle_pem: bytes
    ) -> None:
        if any(b"bad" in part for pair in certificates for part in pair):
            raise RuntimeFailure("they do not fit", code="engine.front_tls_invalid", hint="")
        self.tls.append((certificates, client_auth, client_bundle_pem))

    def set_issuer_keys(self, issuer: str, jwks: str) -> None:
        if "bad" in jwks:
            raise RuntimeFailure("no keys", code="engine.jwks_invalid", hint="")
        self.keys.append((issuer, jwks))


def replace(path: Path, text: str) -> None:
    """As whoever renews a certificate does: another file under the same name."""
    aside = path.with_suffix(".new")
    aside.write_text(text)
    aside.replace(path)


def files(folder: Path, issuers: dict[str, str] | None = None) -> FrontFiles:
    for name in ("a.pem", "a.key", "ca.pem", "keys.json"):
        (folder / name).write_text(f"{name} 1")
    return FrontFiles(
        certificates=((str(folder / "a.pem"), str(folder / "a.key")),),
        client_auth="require",
        client_ca=str(folder / "ca.pem"),
        issuers={ISSUER: str(folder / "keys.json")} if issuers is None else issuers,
        kept=folder / "issuers",
    )


def test_everything_is_taken_at_the_start_and_nothing_again_while_nothing_changes(tmp_path: Path) -> None:
    front = Front()
    keeper = FrontKeeper(files(tmp_path), front)
    keeper.load()
    for _ in range(3):
        keeper.look()
    assert front.tls == [([(b"a.pem 1", b"a.key 1")], "require", b"ca.pem 1")]
    assert front.keys == [(ISSUER, "keys.json 1")]


@pytest.mark.parametrize("name", ["a.pem", "a.key", "ca.pem"])
def test_a_new_certificate_key_or_bundle_is_taken_once(tmp_path: Path, name: str) -> None:
    front = Front()
    keeper = FrontKeeper(files(tmp_path), front)
    keeper.load()
    replace(tmp_path / name, f"{name} 2")
    keeper.look()
    keeper.look()
    assert len(front.tls) == 2
    assert f"{name} 2".encode() in (*front.tls[1][0][0], front.tls[1][2])


def test_what_cannot_be_used_never_replaces_what_is_in_force(tmp_path: Path) -> None:
    front = Front()
    keeper = FrontKeeper(files(tmp_path), front)
    keeper.load()
    replace(tmp_path / "a.pem", "bad: the key of this one comes next")
    replace(tmp_path / "keys.json", "bad")
    keeper.look()
    (tmp_path / "ca.pem").unlink()
    keeper.look()
    assert (len(front.tls), len(front.keys)) == (1, 1)
    replace(tmp_path / "ca.pem", "ca.pem 3")
    replace(tmp_path / "a.pem", "a.pem 3")
    keeper.look()
    assert front.tls[1] == ([(b"a.pem 3", b"a.key 1")], "require", b"ca.pem 3")


def test_a_file_that_is_missing_at_the_start_is_told_at_once(tmp_path: Path) -> None:
    given = files(tmp_path)
    (tmp_path / "a.key").unlink()
    with pytest.raises(FrontFileError) as caught:
        FrontKeeper(given, Front()).load()
    assert (caught.value.code, "a.key" in caught.value.message) == ("front.file_unreadable", True)


def test_keys_of_an_address_come_from_their_last_good_answer_until_it_answers(tmp_path: Path) -> None:
    front = Front()
    keeper = FrontKeeper(files(tmp_path, {ISSUER: "https://id.example/jwks"}), front)
    keeper.load()
    assert front.keys == []
    kept = keeper._kept(ISSUER)
    kept.parent.mkdir()
    kept.write_text("kept")
    keeper.load()
    assert front.keys == [(ISSUER, "kept")]


def test_keys_are_never_fetched_in_the_clear(tmp_path: Path) -> None:
    front = Front()
    keeper = FrontKeeper(files(tmp_path, {ISSUER: "http://127.0.0.1:1/jwks"}), front)

    async def scenario() -> None:
        following = asyncio.create_task(keeper.run())
        done, _ = await asyncio.wait([following], timeout=0.5)
        assert not done, "it goes on, for the next time"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(scenario())
    assert front.keys == []
    assert not keeper._kept(ISSUER).exists()
