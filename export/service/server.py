"""The server: uvicorn with the application, its connections guarded."""

import sys
from pathlib import Path

import uvicorn

from scbch_keras.export.service.application import application
from scbch_keras.export.service.connections import guarded
from scbch_keras.export.service.limits import Limits

_HEADERS_BYTES = 2**14
_STOP_SECONDS = 30
_SWITCH_SECONDS = 0.0002


def run(
    release: Path,
    codes: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that were taken are answered first, for 30 seconds at most.

    Args:
        release: the folder of a release's version, followed once.
        codes: codes of `encode_file`, an index, or the URL of a store with its table, to search in.
        host: address to listen at.
        port: to listen at, 0 for any that is free.
        limits: None for the defaults.
    """
    limits = limits or Limits()
    # Python's threads that check bodies let the event loop go on after this.
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvicorn.run(
        application(release, codes, limits),
        host=host,
        port=port,
        http=guarded(limits),
        ws="none",
        access_log=False,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=_STOP_SECONDS,
        h11_max_incomplete_event_size=_HEADERS_BYTES,
    )
