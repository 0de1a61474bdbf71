"""The command line as a whole: groups, one vocabulary of flags, defaults, choices, completion."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

pytestmark = pytest.mark.numpy_only
for needed in ("typer", "pydantic", "onnxruntime"):
    pytest.importorskip(needed)

import typer  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from scbch_keras.export.format.manifest import PRECISIONS as STORED_PRECISIONS  # noqa: E402
from scbch_keras.labels.posterior import ProposedBy  # noqa: E402
from scbch_keras.training.cli import options  # noqa: E402
from scbch_keras.training.cli.ago import ago  # noqa: E402
from scbch_keras.training.cli.app import PANELS, parsed_settings  # noqa: E402
from scbch_keras.training.cli.main import commands  # noqa: E402
from scbch_keras.training.cli.train import DEFAULT_SPACE  # noqa: E402
from scbch_keras.training.features.text import TextFeatures  # noqa: E402
from scbch_keras.training.pages.audit_run import By  # noqa: E402
from scbch_keras.training.runs.recipe import Recipe, resolve  # noqa: E402
from scbch_keras.training.runs.space import read_space  # noqa: E402


def all_commands():
    root = typer.main.get_command(commands())
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", one) for inner, one in command.commands.items())
        else:
            yield name, command


COMMANDS = dict(all_commands())


def run(*arguments):
    done = CliRunner().invoke(commands(), list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


def flags(command):
    return {flag: option for option in command.params for flag in option.opts if flag.startswith("--")}


def kind_of(option):
    annotation = option.type_descriptor.annotation
    return option.metavar or (get_args(annotation) or (annotation,))[0].__name__


def test_the_help_lists_every_command_under_its_heading_in_the_order_of_use():
    status, shown = run("-h")
    assert status == 0
    words = (word for panel, names in PANELS.items() for word in (panel, *names))
    places = []
    for word in words:
        places.append(shown.index(f" {word} ", places[-1] if places else 0))
    assert places == sorted(places)
    assert {name.partition(" ")[0] for name in COMMANDS} == {
        name for names in PANELS.values() for name in names
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_short_help_and_shows_every_default(name):
    status, shown = run(*name.split(), "-h")
    assert status == 0
    assert "Usage:" in shown
    for flag, option in flags(COMMANDS[name]).items():
        if option.required or option.is_flag or flag == "--help":
            continue
        assert isinstance(option.show_default, str) or option.default is not None, flag
        assert option.help, flag


def test_a_flag_is_of_one_kind_in_all_commands():
    # In training the precision of products, in a release that of the encoders.
    kinds = {}
    for name, command in COMMANDS.items():
        for flag, option in flags(command).items():
            kinds.setdefault(flag, {}).setdefault(str(kind_of(option)), []).append(name)
    assert {flag for flag, by_kind in kinds.items() if len(by_kind) > 1} == {"--precision"}


def test_no_two_flags_say_the_same():
    meanings = {}
    for command in COMMANDS.values():
        for flag, option in flags(command).items():
            meanings.setdefault(option.help, set()).add(flag)
    assert [found for found in meanings.values() if len(found) > 1] == []


RECIPE_FLAGS = ("noise", "bits", "seed", "variant", "queries", "separator", "text_features")


@pytest.mark.parametrize("name", ["train", "describe", "tune", "gain"])
def test_defaults_that_are_shown_are_those_of_the_recipe(name):
    recipe = Recipe("x")
    for option in COMMANDS[name].params:
        if option.name in RECIPE_FLAGS:
            assert option.show_default == str(getattr(recipe, option.name)), option.name
    assert (recipe.tokens, recipe.precision) == (None, None)
    assert resolve(data="x").epochs == 50
    assert resolve(data="icons").epochs == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "Did you mean 'train'"),
        (("release", "lst"), "Did you mean 'list'"),
        (("train", "x", "--epoch", "3"), "--epochs"),
        (("train", "x", "--variant", "posteriro"), "did you mean 'posterior'?"),
        (("reproduce", "icons", "--variant", "dcmhh"), "did you mean 'dcmh'?"),
        (("train", "x", "--backend", "jaxx"), "one of tensorflow, jax, torch; got 'jaxx'; did you mean 'jax'?"),
        (("audit", "x", "--by", "neighbors"), "did you mean 'neighbours'?"),
        (("encode", "r", "i", "--out", "o", "--modality", "images"), "did you mean 'image'?"),
        (("search", "c", "q", "--precision", "int4"), "did you mean 'int8'?"),
        (("export", "r", "--out", "o", "--format", "onxn"), "did you mean 'onnx'?"),
        (("noise", "d", "--noise", "1", "--out", "o", "--kind", "mixd"), "did you mean 'mixed'?"),
        (("train", "x", "--set", "neighbours=3"), "did you mean 'neighbors'?"),
        (("train", "mirflikr", "--out", "o"), "did you mean 'mirflickr'?"),
        (("reproduce", "mirflikr", "--out", "o"), "did you mean 'mirflickr'?"),
        (("train", "x", "--bits", "8", "--set", "bits=16"), "bits is given by its flag too, --bits; leave one out"),
        (("tune", "x", "--bits", "8", "--set", "bits=16"), "bits is given by its flag too"),
        (("describe", "x", "--seed", "8", "--set", "seed=16"), "seed is given by its flag too"),
        (("gain", "x", "--out", "o", "--epochs", "8", "--set", "epochs=16"), "epochs is given by its flag too"),
        (("reproduce", "icons", "--out", "o", "--set", "bits=16"), "bits is an axis of the grid"),
        (("train", "x", "--variant", "zzzz"), "expected one of full,"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_told_with_what_it_may_have_meant(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, told = run(*arguments)
    assert status == 2
    assert message in told
    assert "Traceback" not in told


def test_choices_are_those_of_the_code():
    assert set(options.AUDITED_BY) == set(get_args(By))
    assert set(options.PROPOSED_BY) == set(get_args(ProposedBy))
    assert tuple(STORED_PRECISIONS) == options.ENCODER_PRECISIONS
    for kind in options.TEXT_FEATURES:
        assert TextFeatures(kind).kind == kind
    from scbch_keras.training.bulk.engines import ENGINES

    assert set(options.ENGINES) == set(ENGINES)
    assert set(read_space(Recipe("x"), DEFAULT_SPACE)) == {"learning_rate", "shift"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("scbch tra", "train"),
        ("scbch train --vari", "--variant"),
        ("scbch train --variant poste", "posterior"),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words, expected):
    program = "from scbch_keras.training.cli.main import main; main()"
    environment = {
        **os.environ,
        "_SCBCH_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert expected in done.stdout.split(), done


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 seconds ago"), (1, "1 second ago"), (59, "59 seconds ago"), (60, "1 minute ago"),
        (3599, "59 minutes ago"), (7200, "2 hours ago"), (86400, "1 day ago"), (29 * 86400, "29 days ago"),
        (31 * 86400, "2026-01-29"), (-5, "2026-03-01"),
    ],
)  # fmt: skip
def test_dates_in_listings_say_how_long_ago(seconds, expected):
    then = NOW - timedelta(seconds=seconds)
    assert ago(then.isoformat(), NOW) == expected
    assert ago(then.isoformat().replace("+00:00", "Z"), NOW) == expected
    assert ago(then.replace(tzinfo=None).isoformat(), NOW) == expected


def test_what_is_no_date_is_shown_as_it_is():
    assert ago("yesterday") == "yesterday"


def test_settings_are_toml_or_words():
    assert parsed_settings(["a=1", "b=[2]", "c=word"]) == {"a": 1, "b": [2], "c": "word"}
