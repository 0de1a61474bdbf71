"""The command that serves a release over HTTP, which needs neither keras nor tensorflow: serve."""

from dataclasses import fields, replace
from typing import Annotated

from scbch_keras.training.cli.app import app, bad_input_ends
from scbch_keras.training.cli.options import BatchSize, Port, ReleasePath, option


@app.command()
def serve(
    release: ReleasePath,
    codes: Annotated[
        str | None,
        option(
            "Codes of `scbch encode`, an index, or a store (postgresql://...#TABLE), to search in.",
            "none: codes alone",
        ),
    ] = None,
    host: Annotated[str, option("Address to listen at.")] = "127.0.0.1",
    port: Port = 8000,
    max_rows: Annotated[int, option("Inputs of a request.", min=1)] = 256,
    max_body: Annotated[int, option("Bytes of a request.", min=1)] = 8 * 2**20,
    max_buffered: Annotated[int, option("Bytes of all requests together.", min=1)] = 128 * 2**20,
    max_text: Annotated[int, option("Characters of a text.", min=1)] = 2**16,
    max_pixels: Annotated[int, option("Pixels of a picture.", min=1)] = 2**24,
    max_request_pixels: Annotated[int, option("Pixels of a request.", min=1)] = 2**26,
    max_results: Annotated[int, option("Results of a query.", min=1)] = 1000,
    batch_size: BatchSize = 256,
    max_wait_ms: Annotated[float, option("Milliseconds that a request waits for others.", min=0)] = 2.0,
    max_waiting: Annotated[int, option("Rows that may wait.", min=1)] = 4096,
    max_connections: Annotated[int, option("Connections that are open at once.", min=1)] = 512,
    header_seconds: Annotated[float, option("Time to send a request's headers.")] = 5.0,
    body_seconds: Annotated[float, option("Time to send a request's body.")] = 10.0,
    request_seconds: Annotated[float, option("Time to answer a request.")] = 30.0,
    write_seconds: Annotated[float, option("Time to read an answer.")] = 10.0,
    idle_seconds: Annotated[float, option("Time between two requests.")] = 75.0,
) -> None:
    """Serve a release over HTTP: texts, pictures and features to codes, and search in codes."""
    arguments = locals()
    with bad_input_ends():
        try:
            from scbch_keras.export.service.limits import Limits
            from scbch_keras.export.service.server import run
        except ModuleNotFoundError as error:
            raise ValueError(
                f"scbch serve needs {error.name}: pip install 'scbch_keras[onnx,serve]'"
            ) from error
        limits = Limits()
        names = {field.name for field in fields(limits)} & set(arguments)
        limits = replace(
            limits,
            max_wait=max_wait_ms / 1000,
            max_batch=batch_size,
            **{name: arguments[name] for name in names},
        )
        run(release, codes, host=host, port=port, limits=limits)
