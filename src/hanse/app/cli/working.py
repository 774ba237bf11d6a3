"""Commands about work: build it, deploy it, call it, read its logs, delete it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import Session, TimeoutOption, fabric_command, plain_command

if TYPE_CHECKING:
    from hanse.app.client import Client, LogRow

LOG_INTERVAL_S = 0.5
LOG_BATCH = 1_000

CacheOption = Annotated[Path | None, typer.Option("--cache", help="Where built components are kept.", file_okay=False)]
WorkloadArgument = Annotated[str, typer.Argument(help="For example clinic.triage.")]


@plain_command
def build(
    *,
    paths: Annotated[
        list[Path], typer.Argument(help="Sources (.py, .js, .wasm), manifests, or directories of manifests.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Copy the components into this directory.", file_okay=False)
    ] = None,
    cache: CacheOption = None,
    session: Session,
) -> None:
    """Turn sources into wasi:http components, once per source; what was built before is found again."""
    import shutil

    from hanse.adapters.componentize import build as build_source
    from hanse.app.deploying import SUFFIXES, read_files, source_of
    from hanse.app.render.details import built_components
    from hanse.manifest import load

    is_manifest = [path.is_dir() or path.suffix in SUFFIXES for path in paths]
    manifests = [path for path, is_one in zip(paths, is_manifest, strict=True) if is_one]
    sources = [path for path, is_one in zip(paths, is_manifest, strict=True) if not is_one]
    if manifests:
        sources += [source_of(one) for one in load(read_files(manifests)).functions if one.source]
    built = {}
    for source in dict.fromkeys(sources):
        with session.step(f"building {source.name}") as say:
            built[str(source)] = build_source(source, cache, say)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, one in built.items():
            shutil.copyfile(one.path, out / f"{Path(name).stem}.wasm")
    said = [
        {
            "source": name,
            "digest": one.digest,
            "size_bytes": one.size_bytes,
            "path": str(one.path),
            "cached": one.is_cached,
        }
        for name, one in built.items()
    ]
    session.answer(said, lambda: built_components(built))


@fabric_command
def deploy(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Manifest files, directories of them, or - for stdin.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its difference; change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it runs.")] = True,
    timeout: TimeoutOption = 120.0,
    cache: CacheOption = None,
    session: Session,
) -> None:
    """Build, upload and submit manifests: accepted as a whole or refused as a whole, with the reason."""
    from hanse.app.cli.exits import Exit
    from hanse.app.cli.waiting import until_running
    from hanse.app.deploying import prepare, upload
    from hanse.app.render.submission import submission as render

    with session.client() as client:
        with session.step("building") as say:
            prepared = prepare(paths, cache=cache, say=say)
        with session.step("uploading") as say:
            artifacts = upload(client, prepared, say=say)
        with session.step("planning"):
            submission = client.submit(prepared.files, artifacts, is_dry_run=dry_run)
        session.answer(submission, lambda: render(submission))
        if dry_run:
            raise typer.Exit(Exit.OK if submission.is_accepted else Exit.REFUSED)
        if wait:
            with session.step("waiting until it runs") as say:
                views = until_running(client, submission, timeout_s=timeout, say=say)
            for view in views:
                session.note(f"{view.id} is {view.status} on {', '.join(view.nodes)}")


@fabric_command
def invoke(
    *,
    workload: WorkloadArgument,
    path: Annotated[str, typer.Argument(help="What follows the workload's route, with a query if need be.")] = "",
    node: Annotated[str | None, typer.Option(help="Call through this node; any node will do.")] = None,
    method: Annotated[str, typer.Option("--method", "-X", help="HTTP method; POST where there is data.")] = "",
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Request body; @FILE reads a file, @- stdin.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="NAME: VALUE; may be given again.")] = None,
    timeout: TimeoutOption = 30.0,
    session: Session,
) -> None:
    """Call a workload: its answer goes to stdout, who served it and how fast to stderr."""
    from hanse.app.cli.exits import Exit
    from hanse.app.cli.names import workload_name
    from hanse.app.invoking import call, front_url, pick_front
    from hanse.app.render.quantities import latency

    with session.client() as client:
        view = client.workload(*workload_name(workload)).summary
        through = pick_front(view, client.nodes(), node)
        ca_path = client.context.ca_path
    body = None if data is None else _body(data)
    headers = dict(_header(line) for line in header or ())
    if view.host is not None:
        headers.setdefault("host", view.host)
    answer = call(
        front_url(through),
        view.path.rstrip("/") + _tail(path) or "/",
        through=through.id,
        method=method or ("GET" if body is None else "POST"),
        body=body,
        headers=headers,
        timeout_s=timeout,
        ca_path=ca_path,
    )
    if session.is_json:
        session.document(
            {
                "status": answer.status,
                "through": answer.through,
                "served_by": answer.served_by,
                "took_us": answer.took_us,
                "headers": dict(answer.headers),
                "body": answer.body.decode(errors="replace"),
            }
        )
    else:
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
        if sys.stdout.isatty() and not answer.body.endswith(b"\n"):
            sys.stdout.write("\n")
    failed = f" [{answer.error_code}]" if answer.error_code else ""
    session.note(
        f"{answer.status}{failed} through {answer.through}, served by {answer.served_by or 'nobody'}, "
        f"{latency(answer.took_us)}"
    )
    if not answer.is_ok:
        raise typer.Exit(Exit.UNAVAILABLE if answer.status in (502, 503, 504) else Exit.FAILED)


@fabric_command
def logs(
    *,
    workload: WorkloadArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    tail: Annotated[int, typer.Option(min=1, max=10_000, help="Lines to begin with, at most.")] = 200,
    session: Session,
) -> None:
    """Lines that a workload wrote, from every node that runs it, oldest first; and what its nodes noted about it."""
    import time

    from hanse.app.cli.names import workload_name

    name = workload_name(workload)
    with session.client() as client:
        rows, seen = _rows_after(client, name, {}, tail)
        _print_rows(session, rows[-tail:])
        while follow:
            time.sleep(LOG_INTERVAL_S)
            rows, seen = _rows_after(client, name, seen, LOG_BATCH)
            _print_rows(session, rows)


@fabric_command
def delete(
    *,
    names: Annotated[list[str], typer.Argument(help="clinic.triage, or operator/NAME, site/NAME, policy/NAME.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until nothing of it runs.")] = True,
    timeout: TimeoutOption = 60.0,
    session: Session,
) -> None:
    """Delete workloads, operators, sites or policies. What other things still need is refused."""
    from hanse.app.cli.names import target_name
    from hanse.app.cli.waiting import until

    targets = [target_name(name) for name in names]
    with session.client() as client:
        for kind, identity in targets:
            client.delete(kind, identity)
        workloads = {identity for kind, identity in targets if kind == "function"}
        left: list[str] = []

        def ask() -> bool | None:
            left[:] = [
                one.id
                for one in client.instances()
                if one.workload in workloads and one.phase in ("running", "loading")
            ]
            return None if left else True

        if wait and workloads:
            with session.step("stopping"):
                until(ask, timeout_s=timeout, late=lambda: f"{', '.join(left)} not yet stopped")
    said = [{"kind": kind, "name": identity, "status": "deleted"} for kind, identity in targets]
    session.answer(said, lambda: "\n".join(f"{kind} {identity}: deleted" for kind, identity in targets))


def _tail(path: str) -> str:
    return path if not path or path.startswith(("/", "?")) else f"/{path}"


def _body(data: str) -> bytes:
    if data == "@-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    file = Path(data[1:])
    if not file.is_file():
        raise typer.BadParameter(f"--data names {file}, which is no file")
    return file.read_bytes()


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"a header is written NAME: VALUE, not {line!r}")
    return name.strip().lower(), value.strip()


def _rows_after(
    client: Client, name: tuple[str, str], seen: dict[str, int], limit: int
) -> tuple[list[LogRow], dict[str, int]]:
    """Lines that were not seen before, and the last sequence number per node."""
    rows = list(client.logs(*name, after=seen, limit=limit))
    last = dict(seen)
    for row in rows:
        last[row.node] = max(last.get(row.node, 0), row.seq)
    return rows, last


def _print_rows(session: Session, rows: list[LogRow]) -> None:
    from hanse.core.time import WallTime, rfc3339

    for row in rows:
        if session.is_json:
            session.line(row)
        else:
            typer.echo(f"{rfc3339(WallTime(row.time_us))} {row.node} {row.stream}: {row.text}")
