"""Sources become components that serve `wasi:http`, once; failures say what to do. Runs the real toolchains."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hanse.adapters.component_format import BuildError, check_component, sections
from hanse.adapters.componentize import build, default_cache_dir
from hanse.wire.canonical import digest_bytes

EXAMPLES = Path(__file__).parents[3] / "examples/functions"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="Node.js and npm are not installed"
)


def refusal(source: Path, cache: Path) -> BuildError:
    with pytest.raises(BuildError) as caught:
        build(source, cache)
    assert caught.value.hint
    return caught.value


def imports_of(data: bytes) -> str:
    """The import sections of a component (Binary.md: section 10) as text to search in."""
    return b"".join(payload for kind, payload in sections("built", data) if kind == 10).decode("latin-1")


@pytest.mark.toolchain
def test_python_is_built_once_and_found_again(tmp_path: Path) -> None:
    said: list[str] = []
    source = EXAMPLES / "triage/triage.py"
    first = build(source, tmp_path, said.append)
    data = first.path.read_bytes()
    check_component("triage", data)
    assert "wasi:http/outgoing-handler" in imports_of(data)
    assert not first.is_cached
    assert (first.digest, first.size_bytes) == (digest_bytes(data), len(data))
    assert said == ["building triage.py with componentize-py 0.25.1"]

    again = build(source, tmp_path, said.append)
    assert again.is_cached
    assert (again.digest, again.path) == (first.digest, first.path)
    assert len(said) == 1

    # A kept component whose bytes changed is never handed out; it is built again.
    first.path.write_bytes(data[:-1])
    healed = build(source, tmp_path)
    assert not healed.is_cached
    check_component("triage", healed.path.read_bytes())
    assert [path.name for path in (tmp_path / "components").iterdir() if path.is_dir()] == []


@pytest.mark.toolchain
@needs_node
def test_javascript_is_built_without_outgoing_http_it_does_not_use() -> None:
    built = build(EXAMPLES / "tariff/tariff.js", default_cache_dir())
    data = built.path.read_bytes()
    check_component("tariff", data)
    assert built.digest == digest_bytes(data)
    assert "wasi:http/outgoing-handler" not in imports_of(data)


@pytest.mark.toolchain
def test_a_module_that_fails_when_imported_shows_its_traceback(tmp_path: Path) -> None:
    source = tmp_path / "f.py"
    source.write_text("import numpy\n\n\ndef handle(request):\n    return None\n")
    error = refusal(source, tmp_path / "cache")
    assert error.code == "build.failed"
    assert "No module named 'numpy'" in error.hint
    assert "f.py" in error.hint
    assert list((tmp_path / "cache/components").iterdir()) == []


@needs_node
def test_a_fault_in_javascript_is_named_with_its_line(tmp_path: Path) -> None:
    source = tmp_path / "f.js"
    source.write_text("export function handle(request) {\n  return new Response('a' 'b');\n}\n")
    error = refusal(source, tmp_path / "cache")
    assert error.code == "build.syntax"
    assert error.message.startswith("f.js:2: SyntaxError")


def test_without_node_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refusal(EXAMPLES / "tariff/tariff.js", tmp_path / "cache")
    assert error.code == "build.node_missing"
    assert "`nodejs` and `npm`" in error.hint


def test_an_installation_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("node", "exit 0"), ("npm", "echo no network; exit 1")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    error = refusal(EXAMPLES / "tariff/tariff.js", tmp_path / "cache")
    assert (error.code, error.hint, error.retry) == ("build.install_failed", "no network", True)
    assert list((tmp_path / "cache/toolchains").iterdir()) == []


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "f.rb", tmp_path).code == "build.unsupported"


def test_a_component_passes_through_and_a_core_module_does_not(tmp_path: Path) -> None:
    name = b"wasi:http/incoming-handler@0.2.0"
    source = tmp_path / "f.wasm"
    source.write_bytes(b"\0asm\x0d\0\x01\0\x0b" + bytes([len(name) + 6]) + b"\x01\x00 " + name + b"\x05\0\0")
    built = build(source, tmp_path / "cache")
    assert (built.path, built.size_bytes, built.digest) == (source, 48, digest_bytes(source.read_bytes()))
    source.write_bytes(b"\0asm\x01\0\0\0")
    assert refusal(source, tmp_path).code == "build.not_component"


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert refusal(EXAMPLES / "triage/triage.py", tmp_path / "cache").code == "build.cache"
