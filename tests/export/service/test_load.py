"""A short load: answers are the batch path's, and good clients are answered beside slow, huge and malformed ones.

`python -m benchmarks.service` has the long one.
"""

import asyncio

import numpy as np
import pytest

from benchmarks.hostile_clients import measured_with_hostile, refused
from benchmarks.service import differences, requests_and_answers, running_service, send
from tests.export.serving.test_codes_file import TEXTS

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]


@pytest.fixture(scope="module")
def loaded(release, codes):
    with running_service(str(release), "--codes", str(codes)) as (address, process):
        yield address, process


def test_many_connections_get_the_codes_and_results_of_the_batch_path(loaded, encoder, codes, features):
    texts = [*TEXTS, "zebra"] * 40
    rows = np.resize(features, (len(texts), features.shape[1]))
    requests, expected = requests_and_answers(encoder, codes, texts, rows)
    answers, _ = asyncio.run(send(loaded[0], requests, 32))
    bits, compared, searches, searched = differences(answers, expected)
    assert compared
    assert searched == sum(path == "/search" for path, _ in requests)
    assert {True, False} == {bool(right["results"][0]) for right in expected if "results" in right}
    assert (bits, searches) == (0, 0)


def test_good_clients_are_answered_beside_hostile_ones(loaded):
    address, process = loaded
    # With the benchmark's niceness they would wait minutes for a core beside other tests.
    alone, beside, memory = measured_with_hostile(address, process.pid, 2, niceness=5)
    assert set(alone.statuses) == set(beside.statuses) == {"200"}
    assert memory[-1] < memory[0] + 150
    assert {"408", "413", "422"} <= set(refused(address))
