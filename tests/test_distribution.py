"""What is distributed: the same bytes whoever builds it, and every file that the package and its tests need."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.numpy_only
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]


def tracked():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no checkout: what git has is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().rstrip("\0").split("\0")
    return {name for name in names if (ROOT / name).is_file()}


def build(folder, names, umask, replaced=()):
    """sdist and wheel of a copy of the files, made at another time and with other modes.

    replaced: in the copy of pyproject.toml, what by what.
    """
    for name in sorted(names):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "source" / name)
    project = folder / "source" / "pyproject.toml"
    for old in replaced:
        project.write_text(project.read_text(encoding="utf-8").replace(old, replaced[old]), encoding="utf-8")
    program = (
        "import json, sys; sys.path.insert(0, 'build_backend'); import reproducible\n"
        "print(json.dumps([reproducible.build_sdist('..'), reproducible.build_wheel('..')]))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=folder / "source", capture_output=True, text=True, umask=umask, check=True
    )
    return [folder / name for name in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    names = tracked()
    return names, *(build(tmp_path_factory.mktemp("build"), names, umask) for umask in (0o022, 0o077))


@pytest.mark.slow
def test_two_builds_are_equal_byte_by_byte(distributions):
    _, first, second = distributions
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.slow
def test_the_wheel_holds_the_files_of_the_packages_and_no_others(distributions):
    names, (_, wheel), _ = distributions
    expected = set()
    for package, folder in FOLDERS.items():
        inside = {name for name in names if name.startswith(f"{folder}/")}
        expected |= {f"{package.replace('.', '/')}{name.removeprefix(folder)}" for name in inside}
    with zipfile.ZipFile(wheel) as archive:
        actual = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert actual == expected


@pytest.mark.slow
def test_the_sdist_holds_everything_that_git_has(distributions):
    names, (sdist, _), _ = distributions
    with tarfile.open(sdist) as archive:
        actual = {name.partition("/")[2] for name in archive.getnames()}
    assert names - actual == set()
    assert not [name for name in actual if name.endswith(".pyc")]


LINKS = re.compile(r"\[[^\]]*\]\(([^)]+)\)")


@pytest.mark.slow
def test_the_description_of_a_project_with_a_home_has_links_that_lead_there(tmp_path):
    """On PyPI a relative link of README.md leads nowhere."""
    home = "https://example.org/owner/name"
    names = {name for name in tracked() if not name.startswith(("tests/", "benchmarks/", "docs/"))}
    of_files = [link for link in LINKS.findall((ROOT / "README.md").read_text()) if ":" not in link]
    assert {"docs/demo.png", "docs/install.md", "CONTRIBUTING.md"} <= set(of_files) <= tracked()
    sdist, wheel = build(tmp_path, names, 0o022, {"[project.urls]": f'[project.urls]\nSource = "{home}"'})
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(name) for name in archive.namelist() if name.endswith("/METADATA"))
    with tarfile.open(sdist) as archive:
        (inside,) = (
            name for name in archive.getnames() if name.count("/") == 1 and name.endswith("PKG-INFO")
        )
        assert archive.extractfile(inside).read() == metadata
    version = f"v{inside.partition('/')[0].rpartition('-')[2]}"
    expected = [f"{home}/{'raw' if link.endswith('.png') else 'blob'}/{version}/{link}" for link in of_files]
    described = [link for link in LINKS.findall(metadata.decode()) if "phosphoricons" not in link]
    assert described == expected


def test_every_folder_with_modules_is_a_package_of_the_distribution():
    packages = set(PROJECT["tool"]["setuptools"]["packages"])
    expected = set()
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            rest = path.parent.relative_to(ROOT / folder).parts
            expected.add(".".join((package, *rest)))
    assert packages == expected


def workflows():
    return sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", workflows(), ids=lambda path: path.name)
def test_a_workflow_is_yaml_whose_steps_are_there(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(workflow) == {"name", True, "permissions", "jobs"}  # YAML 1.1 reads "on" as true
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
        for step in job["steps"]:
            assert set(step) <= {"name", "uses", "run", "with", "env"}
            assert len({"uses", "run"} & set(step)) == 1


def test_the_workflows_cover_each_backend_on_each_python():
    (job,) = (
        job
        for path in workflows()
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
        if name == "backend"
    )
    matrix = job["strategy"]["matrix"]
    assert set(matrix["backend"]) == {"tensorflow", "jax", "torch"}
    spoken = [line for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line]
    assert matrix["python"] == [line.rpartition(" ")[2] for line in spoken]


def test_the_citation_is_of_this_version():
    from scbch_keras import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["preferred-citation"]["title"].startswith("Semantic-Consistent Bidirectional")


@pytest.mark.skipif(os.name != "posix", reason="a script of the shell")
def test_the_scripts_of_ci_parse():
    for path in sorted((ROOT / ".ci").iterdir()):
        subprocess.run(["bash", "-n", path], check=True)
