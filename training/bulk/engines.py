"""Who does the work at the shards: this process, Ray Data, or Apache Beam. One row an engine."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scbch_keras.training.bulk.work import Job, encode_shard, failure_path, read_record

Engine = Callable[[Job, Mapping[str, str]], Iterator[dict[str, Any]]]
"""A job and paths of shards by name -> their records, as they end."""


def local(job: Job, shards: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One shard after the other, in this process; onnxruntime takes all cores."""
    encoder = job.opened()
    for name, path in shards.items():
        yield encode_shard(job, encoder, name, path)


class _Worker:
    """An encoder that stays open between shards."""

    def __init__(self, job: Job):
        self._job = job
        self._encoder = job.opened()

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Encode a shard; why it could not be is an answer, since engines wrap errors in their own, or try again."""
        try:
            encode_shard(self._job, self._encoder, row["name"], row["path"])
        except ValueError as error:
            return {"name": row["name"], "error": str(error)}
        return {"name": row["name"], "error": ""}


def ray(job: Job, shards: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Ray Data, on the cluster that RAY_ADDRESS names or else on this machine; the folders must be seen by all."""
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        # A block is a task: as many as there are shards, that each ends by itself. They are made so here: workers hold
        # all processors, and a task that divides them into blocks would wait for one for ever.
        rows = ray.data.from_items(
            [{"name": name, "path": path} for name, path in shards.items()], override_num_blocks=len(shards)
        )
        workers = max(1, min(len(shards), int(ray.cluster_resources().get("CPU", 1))))
        worker: Any = _Worker
        done = rows.map(worker, fn_constructor_args=(job,), compute=ray.data.ActorPoolStrategy(size=workers))
        for row in done.iter_rows():
            if row["error"]:
                raise ValueError(row["error"])
            yield read_record(job, row["name"])
    finally:
        if started_here:
            ray.shutdown()


def beam(job: Job, shards: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Apache Beam, by the runner of its own options in sys.argv's place: the DirectRunner."""
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    class Encode(apache_beam.DoFn):
        def setup(self) -> None:
            self._worker = _Worker(job)

        def process(self, shard: tuple[str, str]) -> None:
            row = self._worker({"name": shard[0], "path": shard[1]})
            if row["error"]:  # a pipeline gives nothing back but files
                failure_path(job, row["name"]).write_text(row["error"])

    with apache_beam.Pipeline(options=PipelineOptions(["--runner=DirectRunner"])) as pipeline:
        _ = (
            pipeline
            | apache_beam.Create(list(shards.items()))
            | apache_beam.Reshuffle()
            | apache_beam.ParDo(Encode())
        )
    for name in shards:
        failure = failure_path(job, name)
        if failure.exists():
            why = failure.read_text()
            failure.unlink()
            raise ValueError(why)
        yield read_record(job, name)


ENGINES: dict[str, Engine] = {"local": local, "ray": ray, "beam": beam}
PACKAGES = {"ray": "ray[data]", "beam": "apache-beam"}
