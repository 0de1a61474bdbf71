"""What one client may cost the others: the limits of the service, and the errors of what goes beyond them."""

from dataclasses import dataclass, fields

from scbch_keras.checks import number, whole


@dataclass(frozen=True)
class Limits:
    """Limits of the service; counts are whole numbers >= 1, times seconds > 0 (`max_wait`: >= 0).

    Attributes:
        max_rows: inputs of a request.
        max_body: bytes of a request's body.
        max_buffered: bytes of all bodies that are held at once, those of up to 64 KiB left out.
        max_text: characters of a text.
        max_pixels: of a picture, as its header tells.
        max_request_pixels: of all pictures of a request.
        max_results: results of a query of a search.
        max_batch: rows that enter the network together; long texts and large pictures count as several.
        max_wait: seconds that the first request of a batch waits for others.
        max_waiting: rows that may wait for a batch.
        max_connections: connections that are open at once.
        header_seconds: from a connection's first byte, or its opening, to the end of a request's headers.
        body_seconds: from the headers to the end of the body.
        request_seconds: from the end of the body to the answer.
        write_seconds: for which a client may leave its answer unread.
        idle_seconds: for which a connection without a request stays open.
    """

    max_rows: int = 256
    max_body: int = 8 * 2**20
    max_buffered: int = 128 * 2**20
    max_text: int = 2**16
    max_pixels: int = 2**24
    max_request_pixels: int = 2**26
    max_results: int = 1000
    max_batch: int = 256
    max_wait: float = 0.002
    max_waiting: int = 4096
    max_connections: int = 512
    header_seconds: float = 5.0
    body_seconds: float = 10.0
    request_seconds: float = 30.0
    write_seconds: float = 10.0
    idle_seconds: float = 75.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int or field.type == "int":
                whole(field.name, value, 1)
            else:
                number(field.name, value, 0, above=field.name != "max_wait")


class InputError(ValueError):
    """An input that is refused; the message names the field."""


class OverloadedError(Exception):
    """More work waits than may; it may be sent again later."""
