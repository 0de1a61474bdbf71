"""A short load: good clients beside slow, huge and malformed ones. `python -m benchmarks.service` has the long one."""

import pytest

from benchmarks.hostile_clients import measured_with_hostile, refused
from benchmarks.service import running_service

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow]


def test_good_clients_are_answered_beside_hostile_ones(release, codes):
    with running_service(str(release), "--codes", str(codes)) as (address, process):
        alone, beside, memory = measured_with_hostile(address, process.pid, 6)
        assert set(alone.statuses) == set(beside.statuses) == {"200"}
        assert memory[-1] < memory[0] + 150
        assert {"408", "413", "422"} <= set(refused(address))
