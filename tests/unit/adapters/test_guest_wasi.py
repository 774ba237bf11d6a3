"""What the guest SDK does at build time is not done again by each request: every one has an instance of its own.

The bindings are made when a component is built; here others of the same shape stand for them, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).parents[3] / "src/hanse/guest_sdk"
TYPES = """
import weakref
from dataclasses import dataclass

class Resource:
    def __init__(self):
        self.finalizer = weakref.finalize(self, int)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.finalizer.detach()

class Stream(Resource):
    def blocking_read(self, _):
        raise Err(StreamError_Closed())
    def blocking_write_and_flush(self, data):
        WRITTEN.append(data)

class Body(Resource):
    def stream(self):
        return Stream()
    write = stream

WRITTEN = []

class StreamError_Closed: pass

@dataclass
class Ok:
    value: object

@dataclass
class Err(Exception):
    value: object

class Fields(Resource):
    def entries(self):
        return [("host", b"x")]
    from_list = staticmethod(lambda _: Fields())

class IncomingBody(Body):
    finish = staticmethod(lambda _: None)

class OutgoingBody(Body):
    finish = staticmethod(lambda *_: None)

class OutgoingResponse(Resource):
    def __init__(self, fields):
        super().__init__()
    def set_status_code(self, status):
        self.status = status
    def body(self):
        return OutgoingBody()

class ResponseOutparam:
    set = staticmethod(lambda *_: None)

class Method_Get: pass

class IncomingRequest(Resource):
    method = lambda self: Method_Get()
    path_with_query = lambda self: "/?item=3"
    headers = lambda self: Fields()
    consume = lambda self: IncomingBody()
    authority = lambda self: "x"
    scheme = lambda self: Scheme_Https()
"""
OTHERS = ("Connect", "Delete", "Head", "Options", "Other", "Patch", "Post", "Put", "Trace")
RUN = """
import json, random, sys, weakref
import hanse_guest, hanse_wasi
from wit_world.imports.types import WRITTEN, IncomingRequest
told = {"registered": weakref.finalize._registered_with_atexit}
before, drawn = set(sys.modules), []
for _ in range(2):
    random.seed(1)
    hanse_wasi.serve(lambda request: drawn.append(random.random()) or hanse_guest.Response.json(request.query),
                     IncomingRequest(), None)
told |= {"imported": sorted(set(sys.modules) - before), "written": b"".join(WRITTEN).decode(), "drawn": drawn}
print(json.dumps(told))
"""


def test_a_request_imports_nothing_and_draws_its_own_numbers(tmp_path: Path) -> None:
    bindings = tmp_path / "wit_world/imports"
    bindings.mkdir(parents=True)
    (tmp_path / "wit_world/__init__.py").touch()
    (bindings / "__init__.py").touch()
    (bindings / "outgoing_handler.py").touch()
    classes = [f"class Method_{name}: pass" for name in OTHERS]
    classes += [f"class {name}: pass" for name in ("OutgoingRequest", "Scheme_Http", "Scheme_Https")]
    (bindings / "types.py").write_text("\n".join([TYPES, *classes]))
    (bindings / "streams.py").write_text("from .types import StreamError_Closed\n")
    (tmp_path / "componentize_py_types.py").write_text("from wit_world.imports.types import Err, Ok\n")
    paths = f"import sys; sys.path[:0] = {[str(tmp_path), str(SDK)]!r}\n"
    ran = subprocess.run([sys.executable, "-I", "-c", paths + RUN], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["imported"] == []
    assert told["registered"]
    assert told["written"] == '{"item": "3"}' * 2
    # Out of one snapshot no two instances draw the same numbers.
    assert len(set(told["drawn"])) == 2
