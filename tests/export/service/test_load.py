"""A short load: good clients beside slow, huge and malformed ones. `python -m benchmarks.service` has the long one."""

import pytest

from benchmarks.hostile_clients import measured_with_hostile, refused
from benchmarks.service import running_service

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow]


def test_hostile_clients_take_nothing_from_good_ones(release, codes):
    with running_service(str(release), "--codes", str(codes)) as (address, process):
        for _ in range(3):  # other programs of the machine may hold up one of them
            alone, beside, memory = measured_with_hostile(address, process.pid, 6)
            assert set(alone.statuses) == set(beside.statuses) == {"200"}
            assert memory[-1] < memory[0] + 150
            if beside.percentile(99) <= 2 * alone.percentile(99):
                break
        else:
            pytest.fail(f"p99 alone {alone.percentile(99)} ms, beside {beside.percentile(99)} ms")
        assert {"408", "413", "422"} <= set(refused(address))
