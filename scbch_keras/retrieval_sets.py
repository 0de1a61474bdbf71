"""Query and database of a retrieval evaluation, checked."""

from collections.abc import Mapping
from typing import Any

from scbch_keras.arrays import as_array
from scbch_keras.data import check_pairs
from scbch_keras.features import as_features

MAP_NAMES = ("i2t_map", "t2i_map")


def check_set(name: str, pairs: Any) -> tuple[dict[str, Any], Any]:
    """({"image", "text"}, labels) as arrays that fit each other; ValueError otherwise."""
    if (
        not isinstance(pairs, (tuple, list))
        or len(pairs) != 2
        or not isinstance(pairs[0], Mapping)
        or set(pairs[0]) != {"image", "text"}
    ):
        raise ValueError(
            f'{name} must be ({{"image": ..., "text": ...}}, labels); got {type(pairs).__name__}.'
        )
    try:
        x = {key: as_features(key, value) for key, value in pairs[0].items()}
        labels = as_array("labels", pairs[1])
        check_pairs(x["image"], x["text"], labels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return x, labels
