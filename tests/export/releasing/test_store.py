"""The versions of a model: listed whole or not at all, `latest` at a blessed one, whatever is killed when."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scbch_keras import files
from scbch_keras.export import promote, prune, releases, rollback
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.releasing import store
from scbch_keras.export.releasing.locks import held

pytestmark = pytest.mark.numpy_only


def a_version(folder, number, blessed=True, score=0.5, name=None):
    """A release with one file, as it is published."""
    path = folder / (name or str(number))
    path.mkdir(parents=True)
    (path / "model.keras").write_bytes(b"weights %d" % number)
    reasons = [] if blessed else ["onnx: mAP 0.1000 is below min_map, 0.5"]
    half = {"blessed": True, "reasons": []}
    manifests.write(
        path,
        {
            **{"schema": manifests.SCHEMA, "bits": 8, "created": "2026-01-01T00:00:00+00:00"},
            **{"files": manifests.describe_files(path), "encoders": {}, "signatures": {}},
            "evaluation": {"map": {"onnx": {"mean": score}}},
            "validation": {"infra": half, "quality": {**half, "reasons": reasons}, "evaluation": None},
        },
    )
    for mark in ("INFRA_BLESSED", "BLESSED" if blessed else "NOT_BLESSED"):
        (path / mark).touch()
    return path


@pytest.fixture
def folder(tmp_path):
    """Versions 1, 2, 3 (not blessed) and 4; `latest` at 2."""
    folder = tmp_path / "icons"
    for number in (1, 2, 3, 4):
        a_version(folder, number, blessed=number != 3, score=number / 10)
    (folder / "latest").symlink_to("2")
    return folder


def latest(folder):
    return (folder / "latest").resolve().name


def test_versions_are_listed_with_blessing_score_and_latest(folder):
    listed = releases(folder)
    assert [version.version for version in listed] == [1, 2, 3, 4]
    assert [version.blessed for version in listed] == [True, True, False, True]
    assert [version.is_latest for version in listed] == [False, True, False, False]
    assert [version.map for version in listed] == [{"onnx": number / 10} for number in (1, 2, 3, 4)]
    assert listed[2].reasons == ("onnx: mAP 0.1000 is below min_map, 0.5",)
    assert releases(folder / "missing") == []


def test_a_version_that_cannot_be_read_is_listed_as_not_blessed(folder):
    (folder / "4" / "manifest.json").write_text("{}")
    listed = releases(folder)[-1]
    assert not listed.blessed
    assert "its manifest cannot be read" in listed.reasons[0]


def test_latest_moves_to_blessed_versions_only(folder):
    assert promote(folder, 4) == folder / "4"
    assert latest(folder) == "4"
    with pytest.raises(ValueError, match=r"version 3 .* is not blessed.*below min_map"):
        promote(folder, 3)
    (folder / "1" / "BLESSED").unlink()
    with pytest.raises(ValueError, match=r"version 1 .* is not blessed.*validation did not end"):
        promote(folder, 1)
    with pytest.raises(FileNotFoundError, match=r"has no version 9; it has \[1, 2, 3, 4\]"):
        promote(folder, 9)
    assert latest(folder) == "4"


def test_rollback_goes_to_the_blessed_version_before(folder):
    promote(folder, 4)
    assert rollback(folder) == folder / "2"
    assert rollback(folder) == folder / "1"
    assert latest(folder) == "1"
    with pytest.raises(ValueError, match="no blessed version before 1"):
        rollback(folder)
    (folder / "latest").unlink()
    with pytest.raises(ValueError, match="no `latest` to go back from"):
        rollback(folder)
    with pytest.raises(FileNotFoundError, match="no folder"):
        rollback(folder / "missing")


def test_prune_keeps_the_highest_and_latest(folder):
    assert prune(folder, 2) == [1]
    assert prune(folder, 1) == [3]
    assert [version.version for version in releases(folder)] == [2, 4]
    assert latest(folder) == "2"
    for keep in (0, True, "1"):
        with pytest.raises(ValueError, match="keep must be an int of at least 1"):
            prune(folder, keep)


LINKS = {
    "from the root": lambda folder: folder / "2",
    "with a slash behind": lambda folder: "2/",
    "from here": lambda folder: "./2",
    "through the folder above": lambda folder: f"../{folder.name}/2",
}


@pytest.mark.parametrize("link", LINKS)
def test_latest_is_the_version_that_a_link_made_by_hand_leads_to(folder, link):
    (folder / "latest").unlink()
    os.symlink(LINKS[link](folder), folder / "latest")
    assert [version.version for version in releases(folder) if version.is_latest] == [2]
    assert prune(folder, 1) == [1, 3]
    assert latest(folder) == "2"
    promote(folder, 4)
    assert rollback(folder) == folder / "2"


@pytest.mark.parametrize("elsewhere", ["9", "../other/2", "/tmp", "latest", "2/model.keras"])
def test_latest_is_no_version_where_its_link_leads_to_none(folder, elsewhere):
    (folder / "latest").unlink()
    os.symlink(elsewhere, folder / "latest")
    assert not any(version.is_latest for version in releases(folder))
    promote(folder, 4)
    assert latest(folder) == "4"


CHANGES = [releases, rollback, lambda folder: promote(folder, 4), lambda folder: prune(folder, 1)]


@pytest.mark.parametrize("act", CHANGES)
@pytest.mark.parametrize("copy", [shutil.copytree, lambda _, path: path.write_text("2")])
def test_latest_that_is_a_copy_is_refused_with_the_remedy(folder, act, copy):
    (folder / "latest").unlink()
    copy(folder / "2", folder / "latest")
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(FileExistsError, match=r"latest is not a symbolic link .* delete it and promote"):
        act(folder)
    after = sorted(path.name for path in folder.rglob("*"))
    assert [name for name in after if name not in (store.USING, store.CHANGING)] == before


def test_prune_deletes_the_link_of_a_version_that_lies_elsewhere_and_no_file(folder, tmp_path):
    moved = (folder / "1").rename(tmp_path / "moved")
    (folder / "1").symlink_to(moved)
    (folder / "3").rename(folder / "5")
    (folder / "3").write_text("mine")
    assert prune(folder, 1) == [1, 4]
    assert {path.name for path in folder.iterdir()} == {"2", "3", "5", "latest", store.USING, store.CHANGING}
    assert (moved / "model.keras").exists()


@pytest.mark.parametrize("change", [lambda folder: promote(folder, 4), rollback])
def test_latest_moves_although_another_process_begins_an_export_or_a_prune(folder, change, monkeypatch):
    made = Path.symlink_to
    program = "import sys; from pathlib import Path; from scbch_keras.export.releasing import store\n"
    program += "with store.at_work(Path(sys.argv[1])): pass"

    def and_another_begins(link, *arguments, **options):
        made(link, *arguments, **options)
        subprocess.run([sys.executable, "-c", program, folder], check=True)

    monkeypatch.setattr(Path, "symlink_to", and_another_begins)
    assert change(folder).name == latest(folder)


def test_hidden_names_differ_and_keep_their_suffix(tmp_path):
    for name in ("checkpoint-2.keras", "c.npy.json", "latest", "3"):
        names = {files.hidden_sibling(tmp_path / name) for _ in range(100)}
        assert len(names) == 100
        assert {(path.parent, path.suffix) for path in names} == {(tmp_path, Path(name).suffix)}
        assert len({path.with_suffix(".keras") for path in names}) == 100
        assert all(path.name.startswith(".") for path in names)


def test_what_was_left_unfinished_goes_once_nobody_works_there(folder):
    left = [folder / ".5-0123456789ab", folder / ".latest-0123456789ab"]
    left[0].mkdir()
    left[1].symlink_to("4")
    kept = folder / ".mine-0123456789ab"
    kept.mkdir()
    with held(folder / store.USING, shared=True):
        prune(folder, 4)
        assert left[0].is_dir()
    prune(folder, 4)
    assert not [path for path in left if path.is_symlink() or path.exists()]
    assert kept.is_dir()


def test_a_lock_ends_with_its_process(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from scbch_keras.export.releasing.locks import _locked; "
    )
    program += "_locked(Path(sys.argv[1]), False, True); print('held', flush=True); sys.stdin.read()"
    path = tmp_path / "lock"
    child = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    with store.held_alone(path) as alone:
        assert not alone
    child.kill()
    child.communicate()
    with store.held_alone(path) as alone:
        assert alone


# Each operation is run in a forked process that dies at its n-th step on the file system, for every n.
KILLED = """
    import json, os, shutil, signal, sys
    from pathlib import Path
    from scbch_keras.export.format import manifest as manifests
    from scbch_keras.export import prune, rollback
    from scbch_keras.export.releasing import store
    from scbch_keras.export.validation import validate as validation
    from scbch_keras.export.validation.validate import Validation

    base = Path(sys.argv[1])
    STEPS, ANY = ("open", "os.rename", "os.mkdir", "os.symlink"), ("os.remove", "os.rmdir", "fcntl.flock")

    def publish(folder, number):
        with store.at_work(folder):
            staging = folder / f".{number}-0123456789ab"
            shutil.copytree(base / "staged", staging)
            manifests.write(staging, manifests.read(base / "staged"))
            validation.mark(Validation(staging, (), (), None))
            store.publish(staging, folder / str(number), as_latest=True)

    def invalidate(folder):
        validation._unmark(folder / "4")
        manifest = manifests.read(folder / "4")
        manifests.write(folder / "4", {**manifest, "bits": 9})
        validation.mark(Validation(folder / "4", ("model.keras is missing",), ("not measured",), None))

    operations = {
        "first": lambda folder: publish(folder, 1),
        "publish": lambda folder: publish(folder, 5),
        "prune": lambda folder: prune(folder, 1),
        "rollback": rollback,
        "invalidate": invalidate,
    }

    def attempt(operation, folder, at):
        child = os.fork()
        if child:
            return os.WIFSIGNALED(os.waitpid(child, 0)[1])
        steps = 0
        def hook(event, arguments):
            nonlocal steps
            # The interpreter opens files of its own; names of what a tree loses are relative.
            mine = event in ANY or str(arguments[0]).startswith(str(folder))
            if event in (*STEPS, *ANY) and mine:
                if steps == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps += 1
        sys.addaudithook(hook)
        operation(folder)
        os._exit(0)

    counts = {}
    for name, operation in operations.items():
        at, blessed_before = 0, True
        while True:
            folder = base / "work"
            shutil.rmtree(folder, ignore_errors=True)
            if name == "first":
                folder.mkdir()
            else:
                shutil.copytree(base / "icons", folder, symlinks=True)
            was_killed = attempt(operation, folder, at)
            for version in store.versions(folder):
                manifest = manifests.read(folder / str(version))
                if not (name == "invalidate" and version == 4):
                    assert manifests.wrong_files(folder / str(version), manifest) == [], (name, at, version)
                    assert (folder / str(version) / "INFRA_BLESSED").exists(), (name, at, version)
            if (folder / "latest").is_symlink():
                assert manifests.read((folder / "latest").resolve()), (name, at)
                assert store.is_blessed((folder / "latest").resolve()), (name, at)
            if name == "invalidate":
                blessed = store.is_blessed(folder / "4")
                assert blessed <= blessed_before, (name, at)
                blessed_before = blessed
                assert not blessed or was_killed
            with store.at_work(folder):
                hidden = {path.name for path in folder.glob(".*")}
                assert hidden <= {store.USING, store.CHANGING}, (name, at, hidden)
            if not was_killed:
                break
            at += 1
        counts[name] = at
    print(json.dumps(counts))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_any_step_no_partial_version_is_listed_and_latest_opens(folder, tmp_path):
    a_version(tmp_path, 5, name="staged")
    for mark in ("INFRA_BLESSED", "BLESSED"):
        (tmp_path / "staged" / mark).unlink()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["publish"] > 20
    assert all(count >= 5 for count in counts.values()), counts


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_list_of_versions_prints_dates_whole(folder, monkeypatch, width):
    testing = pytest.importorskip("typer.testing")
    from scbch_keras.training.cli import release as commands_release

    monkeypatch.setenv("COLUMNS", str(width))
    told = testing.CliRunner().invoke(commands_release.app, ["release", "list", str(folder)]).output
    assert told.count("2026-01-01") == 4
    assert [f"onnx 0.{number}000" in told for number in (1, 2, 3, 4)] == [True] * 4
    assert max(map(len, told.splitlines())) <= width
