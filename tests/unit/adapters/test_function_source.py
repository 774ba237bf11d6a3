"""Sources are gathered with what they import, and what no toolchain could build is refused at its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hanse.adapters import function_source
from hanse.adapters.component_format import BuildError
from hanse.adapters.function_source import FunctionSource, gather_javascript, gather_python


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def refusal(gather: Callable[[Path], FunctionSource], path: Path) -> BuildError:
    with pytest.raises(BuildError) as caught:
        gather(path)
    assert caught.value.hint
    return caught.value


HANDLE = "def handle(request):\n    return None\n"


def test_a_python_function_brings_the_neighbours_it_imports_and_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path,
        f_dot_py="import json\nimport scales\nfrom units.mass import kilo\n" + HANDLE,
        scales_dot_py="import deep\n",
        deep_dot_py="import f\n",
        unrelated_dot_py="",
        notes_dot_txt="",
    )
    (tmp_path / "units").mkdir(exist_ok=True)
    (tmp_path / "units/__init__.py").write_text("")
    (tmp_path / "units/mass.py").write_text("kilo = 1000\n")
    names = [name for name, _ in gather_python(tmp_path / "f.py").files]
    assert names == ["deep.py", "f.py", "scales.py", "units/__init__.py", "units/mass.py"]


@pytest.mark.parametrize(
    "text",
    [HANDLE, "from other import handle\n", "from other import serve as handle\n", "handle = lambda request: None\n"],
)
def test_handle_may_be_defined_or_imported(tmp_path: Path, text: str) -> None:
    write(tmp_path, f_dot_py=text)
    assert gather_python(tmp_path / "f.py").main == "f.py"


@pytest.mark.parametrize(
    ("name", "text", "code", "message"),
    [
        ("f.py", "def handle(r:\n    pass\n", "build.syntax", "f.py:1:"),
        ("f.py", "x = 1\nif x\n    pass\n", "build.syntax", "f.py:2:"),
        ("f.py", "def handler(r): pass\n", "build.no_handle", "no function `handle`"),
        ("f.py", "class A:\n    def handle(self): pass\n", "build.no_handle", "no function `handle`"),
        ("f.py", "async def handle(r): pass\n", "build.no_handle", "no function `handle`"),
        ("my-f.py", HANDLE, "build.bad_name", "my-f.py"),
        ("wit_world.py", HANDLE, "build.bad_name", "wit_world.py"),
    ],
)
def test_python_that_cannot_be_built_is_refused(tmp_path: Path, name: str, text: str, code: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    error = refusal(gather_python, tmp_path / name)
    assert (error.code, message in error.message) == (code, True)


def test_a_fault_in_a_neighbour_names_the_neighbour(tmp_path: Path) -> None:
    write(tmp_path, f_dot_py="import g\n" + HANDLE, g_dot_py="\n\n)\n")
    assert refusal(gather_python, tmp_path / "f.py").message.startswith("g.py:3:")


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_bytes(b"def handle(r): return '\xff'\n")
    assert refusal(gather_python, tmp_path / "f.py").code == "build.syntax"


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    error = refusal(gather_python, tmp_path / "gone.py")
    assert error.code == "build.source_missing"
    assert "gone.py" in error.message


def test_a_source_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_source, "MAX_SOURCE_BYTES", 100)
    write(tmp_path, f_dot_py="import g\n" + HANDLE, g_dot_py="#" * 80)
    assert refusal(gather_python, tmp_path / "f.py").code == "build.too_large"


def test_a_javascript_function_brings_its_relative_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        f_dot_js="import { a } from './lib/a.js';\nexport async function handle(request) { return a; }\n",
        lib__a_dot_js="export { a } from '../b.js';\nimport './c.js';\n",
        b_dot_js="",
        lib__c_dot_js="",
        other_dot_js="",
    )
    names = [name for name, _ in gather_javascript(tmp_path / "f.js").files]
    assert names == ["b.js", "f.js", "lib/a.js", "lib/c.js"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("export default { fetch() {} }\n", "build.no_handle"),
        ("function handle() {}\n", "build.no_handle"),
        ("import '../out.js';\nexport const handle = () => 1;\n", "build.bad_name"),
        ("import './gone.js';\nexport const handle = () => 1;\n", "build.source_missing"),
    ],
)
def test_javascript_that_cannot_be_built_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "f.js").write_text(text)
    assert refusal(gather_javascript, tmp_path / "f.js").code == code
