"""The options of what can be seen of requests, shared by the commands that start a node: `options -> SightOptions`.

Such a command takes the ready `SightOptions` as ``sight`` under `@sees_requests`; names, defaults and help stand here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli.session import in_place_of
from hanse.app.options import SightOptions

OtlpOption = Annotated[
    str | None,
    typer.Option("--otlp", help="Collector of OpenTelemetry traces (OTLP over HTTP), like http://127.0.0.1:4318."),
]
TraceRatioOption = Annotated[
    float,
    typer.Option(
        "--trace-ratio",
        min=0.0,
        max=1.0,
        help="Share of traces to record; for those that a client began, the client decides.",
    ),
]
AccessLogOption = Annotated[
    Path | None, typer.Option("--access-log", help="File for lines about requests (JSON), appended to.", dir_okay=False)
]
AccessLogRatioOption = Annotated[
    float,
    typer.Option(
        "--access-log-ratio", min=0.0, max=1.0, help="Share of requests without error to write; errors always are."
    ),
]
TellPathsOption = Annotated[
    bool, typer.Option("--tell-paths", help="Name paths in traces and access log; they may name people.")
]
AccountOption = Annotated[
    float,
    typer.Option(
        "--account-every", min=1.0, max=3600.0, help="Seconds between accounts of usage and decisions to the ledger."
    ),
]
CountOption = Annotated[
    float,
    typer.Option(
        "--count-every",
        min=1.0,
        max=3600.0,
        help="Seconds between two looks at where requests enter; the same for all of a fabric.",
    ),
]


def sight_options(
    *,
    otlp: OtlpOption = None,
    trace_ratio: TraceRatioOption = 0.01,
    access_log: AccessLogOption = None,
    access_log_ratio: AccessLogRatioOption = 1.0,
    tell_paths: TellPathsOption = False,
    account_every: AccountOption = 300.0,
    count_every: CountOption = 30.0,
) -> SightOptions:
    """Take shares as whole numbers of a million, times as microseconds, files by their full names."""
    return SightOptions(
        otlp_endpoint=otlp,
        trace_ratio_ppm=round(trace_ratio * 1e6),
        access_log=None if access_log is None else str(access_log.resolve()),
        access_log_ratio_ppm=round(access_log_ratio * 1e6),
        tells_paths=tell_paths,
        account_us=round(account_every * 1e6),
        count_us=round(count_every * 1e6),
    )


def sees_requests(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that starts nodes its ``sight``: the options of `sight_options`, in its place."""
    options = inspect.signature(sight_options, eval_str=True).parameters.values()
    return in_place_of("sight", command, sight_options, *options)
