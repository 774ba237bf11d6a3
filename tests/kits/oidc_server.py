"""A real OpenID provider on a port of this machine, and the person who signs in there without a browser.

The provider is panva/node-oidc-provider, installed from its lock file once per lock file, outside the clone. Where
Node.js or the registry is missing, tests that need it skip with that reason.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

HOME = Path(__file__).parent / "oidc_provider"
CACHE = Path.home() / ".cache" / "hanse" / "toolchains"
INSTALL_S = 600
HOPS_MAX = 20


@contextmanager
def running_provider() -> Iterator[str]:
    """The issuer of a provider that runs for as long as the block."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm: the provider is a Node program")
    program = _installed() / "provider.mjs"
    process = subprocess.Popen(
        ["node", str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin and process.stdout
    try:
        line = process.stdout.readline()
        assert line, "the provider did not start"
        yield json.loads(line)["issuer"]
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def _installed() -> Path:
    files = sorted(file for file in HOME.iterdir() if file.is_file())
    key = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    ready = CACHE / f"oidc-{key}"
    if (ready / "node_modules").is_dir():
        return ready
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="stage-") as name:
        stage = Path(name) / "oidc"
        shutil.copytree(HOME, stage)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=stage, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install the provider: {done.stderr.strip()[-200:]}")
        try:
            stage.rename(ready)
        except OSError:
            assert (ready / "node_modules").is_dir()
    return ready


class Person:
    """Somebody at a browser: keeps cookies, fills in the provider's forms."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._http = httpx.Client(timeout=60.0, trust_env=False)

    def sign_in(self, url: str) -> httpx.Response:
        """Open an address, sign in and consent, and follow where it leads: the answer of the last page."""
        page = self._http.get(url)
        for _ in range(HOPS_MAX):
            if page.is_redirect:
                page = self._http.get(urljoin(str(page.url), page.headers["location"]))
                continue
            form = _form(page.text)
            if form is None:
                return page
            action, fields = form
            fields |= {"login": self.name, "password": "any"} if fields.get("prompt") == "login" else {}
            page = self._http.post(urljoin(str(page.url), action), data=fields)
        raise AssertionError("the provider leads in circles")

    def close(self) -> None:
        self._http.close()


def _form(text: str) -> tuple[str, dict[str, str]] | None:
    form = re.search(r"<form[^>]*action=\"([^\"]+)\"[^>]*>(.*?)</form>", text, re.S)
    if form is None:
        return None
    inputs = re.findall(r"<(?:input|button)([^>]*)>", form.group(2))
    fields = {}
    for one in inputs:
        name, value = re.search(r'name="([^"]*)"', one), re.search(r'value="([^"]*)"', one)
        if name:
            fields[name.group(1)] = value.group(1) if value else ""
    fields.pop("abort", None)
    return form.group(1), fields
