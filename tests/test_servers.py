"""What the tests demand of the programs from outside."""

import pytest

from tests import servers

pytestmark = pytest.mark.numpy_only


@pytest.mark.parametrize(("is_required", "outcome"), [(True, "failed"), (False, "skipped")])
@pytest.mark.parametrize("kind", ["test", "module"])
def test_a_package_that_is_missing_fails_a_run_that_demands_all(monkeypatch, kind, is_required, outcome):
    with pytest.raises(pytest.skip.Exception) as raised:
        pytest.importorskip("no_such_package")
    longrepr = ("test_x.py", 1, f"Skipped: {raised.value}")
    report = (
        pytest.TestReport("x", ("test_x.py", 1, "x"), {}, "skipped", longrepr, "setup")
        if kind == "test"
        else pytest.CollectReport("x", "skipped", longrepr, [])
    )
    monkeypatch.setattr(servers, "REQUIRED", is_required)
    assert servers.demanded(report).outcome == outcome
    assert "no_such_package" in str(report.longrepr)


def test_what_is_skipped_for_another_reason_stays_so(monkeypatch):
    monkeypatch.setattr(servers, "REQUIRED", True)
    report = pytest.CollectReport("x", "skipped", ("test_x.py", 1, "Skipped: of PyTorch"), [])
    assert servers.demanded(report).outcome == "skipped"
