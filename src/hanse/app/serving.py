"""Small pieces that every process of the fabric shares: sockets, signals, logging."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys

import structlog

from hanse.core.errors import HanseError


class AddressInUse(HanseError):
    """Raised when a port that was asked for is taken."""

    code = "port.in_use"


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind and return a TCP socket; port 0 takes a free one. Raises AddressInUse."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise AddressInUse(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="stop what listens there, or choose another port with --port",
            context={"port": port},
        ) from error
    return listening


async def run_until_signalled() -> None:
    """Wait for SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def log_to_stderr(level: str) -> None:
    """Structured log lines on standard error: JSON, so that they can be read by machines too."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
