"""How a daemon logs: one line per happening, JSON in the node's log file, with the node in every line."""

import sys
from typing import TextIO

import structlog


def set_up_logs(node: str, stream: TextIO = sys.stderr) -> None:
    """Send every log line of this process to the stream."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(node=node)
