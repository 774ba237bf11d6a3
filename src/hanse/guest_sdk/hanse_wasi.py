"""Carries requests and responses between the WASI bindings and a plain Python function.

It runs only inside a component: the modules `wit_world` and `componentize_py_types` are made when one is built.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import traceback
import weakref
from collections.abc import Callable

import hanse_guest
from componentize_py_types import Err, Ok
from hanse_guest import FetchError, Request, Response
from wit_world.imports import outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingBody,
    Method_Connect,
    Method_Delete,
    Method_Get,
    Method_Head,
    Method_Options,
    Method_Other,
    Method_Patch,
    Method_Post,
    Method_Put,
    Method_Trace,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
    Scheme_Https,
)

_CHUNK_BYTES = 4_096
"""The most that `blocking-write-and-flush` takes (wasi:io/streams)."""
_READ_BYTES = 65_536

_METHODS = {
    "GET": Method_Get,
    "HEAD": Method_Head,
    "POST": Method_Post,
    "PUT": Method_Put,
    "DELETE": Method_Delete,
    "CONNECT": Method_Connect,
    "OPTIONS": Method_Options,
    "TRACE": Method_Trace,
    "PATCH": Method_Patch,
}
_NAMES = {kind: name for name, kind in _METHODS.items()}


class _Resource:
    """Stands for a resource of the host."""


# The first finalizer imports and registers `atexit`, and the bindings give one to each resource of the host. Done here
# it is part of the snapshot; left to requests each one would do it, for each has an instance of its own.
weakref.finalize(_Resource(), int)


def serve(handle: Callable[[Request], Response], request, response_out) -> None:
    """Answer one request with `handle`; an exception becomes a 500 and a traceback on standard error."""
    # The component is a snapshot taken at build time, its random state included: without this every instance would
    # draw the same numbers. As a number, because bytes would be hashed first, with a module that is loaded for it.
    random.seed(int.from_bytes(os.urandom(32)))
    try:
        response = handle(_incoming(request))
    except Exception:
        traceback.print_exc(file=sys.stderr)
        response = None
    else:
        if not isinstance(response, Response):
            print(f"handle returned {type(response).__name__}, not a Response", file=sys.stderr)
            response = None
    _answer(response or Response.text("the function failed\n", status=500), response_out)


def transport(request: Request) -> Response:
    """Send one request out through wasi:http/outgoing-handler and wait for the whole response."""
    outgoing = OutgoingRequest(_fields(request.headers))
    kind = _METHODS.get(request.method)
    outgoing.set_method(kind() if kind else Method_Other(request.method))
    outgoing.set_scheme(Scheme_Https() if request.scheme == "https" else Scheme_Http())
    outgoing.set_authority(request.authority)
    outgoing.set_path_with_query(request.target)
    try:
        body = outgoing.body()
        future = outgoing_handler.handle(outgoing, None)
        # A host that refuses the call closes the body at once; the future then says why.
        with contextlib.suppress(Err):
            _write(body, request.body)
        with future.subscribe() as ready:
            ready.block()
        outcome = future.get()
        # What `get` returns is nested: ok, because it is asked once, of ok(response) or err(code).
        inner = outcome.value if isinstance(outcome, Ok) else outcome
        if not isinstance(inner, Ok):
            raise FetchError(_why(getattr(inner, "value", inner)))
        incoming = inner.value
        headers = _headers(incoming.headers())
        return Response(status=incoming.status(), headers=headers, body=_read(incoming.consume()))
    except Err as error:
        raise FetchError(_why(error.value)) from None


def _incoming(request) -> Request:
    method = request.method()
    return Request(
        method=_NAMES.get(type(method)) or method.value,
        target=request.path_with_query() or "/",
        headers=_headers(request.headers()),
        body=_read(request.consume()),
        authority=request.authority() or "",
        scheme="https" if isinstance(request.scheme(), Scheme_Https) else "http",
    )


def _answer(response: Response, response_out) -> None:
    headers = [*response.headers]
    if not any(name.lower() == "content-length" for name, _ in headers):
        headers.append(("content-length", str(len(response.body))))
    outgoing = OutgoingResponse(_fields(headers))
    outgoing.set_status_code(response.status)
    body = outgoing.body()
    ResponseOutparam.set(response_out, Ok(outgoing))
    _write(body, response.body)


def _read(body) -> bytes:
    chunks = []
    with body.stream() as stream:
        while True:
            try:
                chunks.append(stream.blocking_read(_READ_BYTES))
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)
    return b"".join(chunks)


def _write(body, data: bytes) -> None:
    with body.write() as stream:
        for start in range(0, len(data), _CHUNK_BYTES):
            stream.blocking_write_and_flush(data[start : start + _CHUNK_BYTES])
    OutgoingBody.finish(body, None)


def _headers(fields) -> hanse_guest.Headers:
    return [(name, value.decode("latin-1")) for name, value in fields.entries()]


def _fields(headers: hanse_guest.Headers):
    return Fields.from_list([(name, value.encode("latin-1")) for name, value in headers])


def _why(code: object) -> str:
    if code is None:
        return "no response"
    return type(code).__name__.removeprefix("ErrorCode_").removeprefix("StreamError_")
