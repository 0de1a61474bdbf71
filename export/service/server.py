"""The server: uvicorn with the application, its connections guarded."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from scbch_keras.export.service.application import application
from scbch_keras.export.service.catalogue import Catalogue
from scbch_keras.export.service.connections import guarded
from scbch_keras.export.service.limits import Limits

_HEADERS_BYTES = 2**14
_STARTUP_FAILURE = 3  # as the exit status of uvicorn's own command
_STOP_SECONDS = 30
_SWITCH_SECONDS = 0.0002


def run(
    release: Path,
    codes: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    catalogue: Callable[[Sequence[str]], Catalogue] | None = None,
    candidates: Sequence[str] = (),
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that were taken are answered first, for 30 seconds at most.

    Args:
        release: the folder of a release's version, followed once.
        codes: codes of `encode_file`, an index, or the URL of a store with its table, to search in.
        host: address to listen at.
        port: to listen at, 0 for any that is free.
        limits: None for the defaults.
        catalogue: of the search page, as in `application`.
        candidates: as in `application`.
        ready: called with the address once requests are answered.

    Raises ValueError for a port that cannot be listened at, and as `application` does.
    """
    limits = limits or Limits()
    # Python's threads that check bodies let the event loop go on after this.
    sys.setswitchinterval(_SWITCH_SECONDS)
    config = uvicorn.Config(
        application(release, codes, limits, catalogue, candidates),
        host=host,
        port=port,
        http=guarded(limits),
        ws="none",
        access_log=False,
        log_level="info" if ready is None else "warning",
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=_STOP_SECONDS,
        h11_max_incomplete_event_size=_HEADERS_BYTES,
    )
    server = _Server(config, ready)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_STARTUP_FAILURE)


class _Server(uvicorn.Server):
    """Tells at which address it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None] | None):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as error:  # uvicorn has logged why
            raise ValueError(
                f"port: expected one that is free at {self.config.host}, got {self.config.port}; name another, or 0 "
                "for any"
            ) from error
        if self.started and self._ready is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://{host}:{port}/")
