"""Spans of the real engine, read back with the messages that OpenTelemetry itself publishes."""

from __future__ import annotations

import queue
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hanse import _engine

pytestmark = pytest.mark.engine

SAID = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=7",
}


@pytest.fixture
def collector() -> Iterator[tuple[str, queue.Queue[tuple[str, str, bytes]]]]:
    """A receiver of OTLP: hands on path, content type and body of each request."""
    got: queue.Queue[tuple[str, str, bytes]] = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.put((self.path, self.headers["content-type"], body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def test_a_collector_understands_what_is_told(
    collector: tuple[str, queue.Queue[tuple[str, str, bytes]]], guests: Mapping[str, Path], tmp_path: Path
) -> None:
    endpoint, got = collector
    engine = _engine.Engine(
        _engine.EngineConfig(
            node="ber-1",
            trust_domain="t.example",
            front_bind="127.0.0.1:0",
            mesh_bind="127.0.0.1:0",
            cache_dir=str(tmp_path),
            otlp_endpoint=endpoint,
        )
    )
    front = engine.start().front
    engine.load("clinic.hello", guests["hello"].read_bytes(), _engine.Limits(), [], {})
    engine.set_routes([_engine.Route(workload="clinic.hello", path_prefix="/hello", replicas=[])])
    asked = urllib.request.Request(f"http://{front}/hello/erika?born=1970", headers=SAID)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.status == 200
    engine.stop(60_000)  # until all is told, however busy the machine
    path, content_type, body = got.get(timeout=60)
    assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
    request = ExportTraceServiceRequest.FromString(body)
    [resource] = request.resource_spans
    about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert (about["service.name"], about["service.instance.id"]) == ("hanse", "ber-1")
    [scope] = resource.scope_spans
    by_kind = {span.kind: span for span in scope.spans}
    server, function = by_kind[2], by_kind[1]
    assert len(scope.spans) == 2
    assert (server.name, function.name) == ("GET /hello", "clinic.hello")
    assert {span.trace_id.hex() for span in scope.spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert server.parent_span_id.hex() == "b7ad6b7169203331"
    assert function.parent_span_id == server.span_id
    assert {span.trace_state for span in scope.spans} == {"vendor=7"}
    assert server.start_time_unix_nano <= function.start_time_unix_nano <= function.end_time_unix_nano
    facts = {pair.key: pair.value for span in scope.spans for pair in span.attributes}
    assert facts["http.response.status_code"].int_value == 200
    assert facts["http.route"].string_value == "/hello"
    assert facts["faas.coldstart"].bool_value
    assert facts["faas.invocation_id"].string_value == function.span_id.hex()
    assert b"erika" not in body
    assert b"1970" not in body


def test_an_address_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    config = _engine.EngineConfig(
        node="a",
        trust_domain="t.example",
        front_bind="127.0.0.1:0",
        mesh_bind="127.0.0.1:0",
        cache_dir=str(tmp_path),
        otlp_endpoint="127.0.0.1:4317",
    )
    with pytest.raises(_engine.EngineError) as caught:
        _engine.Engine(config)
    assert caught.value.code == "engine.config_invalid"


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    config = _engine.EngineConfig(
        node="a",
        trust_domain="t.example",
        front_bind="127.0.0.1:0",
        mesh_bind="127.0.0.1:0",
        cache_dir=str(tmp_path),
        access_log=str(tmp_path / "missing" / "access.jsonl"),
    )
    with pytest.raises(_engine.EngineError) as caught:
        _engine.Engine(config)
    assert caught.value.code == "access_log.io"
