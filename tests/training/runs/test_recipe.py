import pytest

from scbch_keras.methods import VARIANTS
from scbch_keras.training.runs.recipe import resolve

pytestmark = pytest.mark.numpy_only


@pytest.mark.parametrize(
    ("variant", "epochs", "expected"),
    [
        ("nrch", 50, 10),
        ("nrch", 100, 19),
        ("nrch", 1, 0),
        ("nacd", 50, 5),
        ("nacd", 100, 10),
        ("full", 100, 5),
    ],
)
def test_a_warm_up_is_the_authors_share_of_the_epochs(variant, epochs, expected):
    assert resolve(data="icons", variant=variant, epochs=epochs).warmup_epochs == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_warm_up_that_is_asked_for_is_kept(variant, tmp_path):
    asked = resolve(data="icons", variant=variant, epochs=100, warmup_epochs=7)
    assert asked.warmup_epochs == 7
    file = tmp_path / "run.toml"
    file.write_text(f'data = "icons"\nvariant = "{variant}"\nwarmup_epochs = 3\n')
    assert resolve(file).warmup_epochs == 3


def test_a_stored_recipe_is_read_as_it_was():
    recipe = resolve(data="icons", variant="nrch", epochs=40)
    assert resolve(**recipe.as_dict()) == recipe
