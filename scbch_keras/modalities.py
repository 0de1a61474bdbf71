"""The two modalities and the two directions of retrieval between them, said once for all packages."""

from typing import Literal

Direction = Literal["i2t", "t2i"]

MODALITIES = ("image", "text")
DIRECTIONS: dict[Direction, tuple[str, str]] = {"i2t": ("image", "text"), "t2i": ("text", "image")}
"""Direction -> (modality of the query, modality of the database)."""
