"""What the command line sets before it loads a library of numbers."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.numpy_only,
    pytest.mark.skipif(not hasattr(os, "confstr") or sys.platform != "linux", reason="glibc's own"),
]

# Memory of the process after half a gigabyte was taken and given back, and what its children would be given.
PROGRAM = """
import os, sys
from scbch_keras.training.cli.process import keep_memory, spin_shortly
keep_memory(sys.argv[1:])
spin_shortly()
block = bytearray(b"1") * 2**29
del block
with open("/proc/self/status") as status:
    held = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
print(held > 2**18, os.environ.get("GLIBC_TUNABLES"), os.environ.get("GOMP_SPINCOUNT"))
"""


def run(program, *arguments, **variables):
    kept = {
        name: value for name, value in os.environ.items() if name not in ("GLIBC_TUNABLES", "SCBCH_ALLOCATOR")
    }
    kept.pop("GOMP_SPINCOUNT", None)
    return subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, env={**kept, **variables}
    )


@pytest.mark.parametrize("command", ["train", "reproduce", "quickstart", "gain", "tune"])
@pytest.mark.slow
def test_what_trains_keeps_its_memory_and_says_so(command):
    done = run(["-c", PROGRAM], command, "somewhere")
    assert done.stdout == "True None 1000\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert "--no-allocator, or SCBCH_ALLOCATOR=0" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["train", "--no-allocator"], {}),
        (["train", "-h"], {}),
        (["train"], {"SCBCH_ALLOCATOR": "0"}),
        (["train"], {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}),
        (["train", "--help"], {}),
        (["search", "train"], {}),
        ([], {}),
    ],
)
@pytest.mark.slow
def test_the_allocator_is_left_alone_where_it_is_told_to_or_nothing_trains(arguments, variables):
    done = run(["-c", PROGRAM], *arguments, **variables)
    assert done.stdout == f"False {variables.get('GLIBC_TUNABLES')} 1000\n"
    assert not done.stderr


@pytest.mark.parametrize(
    ("variables", "count"), [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_spinning_that_was_chosen_stays(variables, count):
    assert run(["-c", PROGRAM], "search", **variables).stdout.split()[-1] == count


@pytest.mark.parametrize("switch", [[], ["--no-allocator"]])
def test_the_command_line_starts_anew_with_its_arguments(tmp_path, switch):
    arguments = ["train", "icons", "--config", str(tmp_path / "a b.toml"), *switch]
    done = run(["-P", "-m", "scbch_keras.training.cli.main"], *arguments)
    assert done.returncode == 2
    assert f"there is no file {tmp_path / 'a b.toml'}\n" in done.stderr
    assert ("keeps memory" in done.stderr) is not bool(switch)
