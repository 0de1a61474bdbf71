"""Which model codes came from: kept beside them, so that codes of two models never meet. Standard library only."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from scbch_keras.export.format import manifest as manifests

if TYPE_CHECKING:
    from scbch_keras.export.serving.encoder import HashEncoder


@dataclass(frozen=True)
class Source:
    """The release whose encoder made codes.

    name, version: of the release, as its folders were called.
    model: sha256 of its model.keras. Distances between codes mean something if and only if this is the same.
    manifest: sha256 of its manifest.json as it was then.
    """

    name: str
    version: int
    model: str
    manifest: str

    @classmethod
    def of(cls, encoder: "HashEncoder") -> Self:
        """The release that an encoder opened.

        Args:
            encoder: an open release.

        Returns:
            Its name, version and checksums.

        Raises:
            ValueError: its manifest does not say its version or lists no model.
        """
        try:
            version = encoder.manifest["version"]
            model = encoder.manifest["files"][manifests.MODEL]["sha256"]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"the manifest of {encoder.path} does not say which model it is: {error}"
            ) from error
        name = encoder.manifest.get("name", encoder.path.parent.name)
        stored = {"name": name, "version": version, "model": model, "manifest": encoder.manifest_sha256}
        try:
            return cls.from_json(stored)
        except ValueError as error:
            raise ValueError(
                f"the manifest of {encoder.path} does not say which model it is: {error}"
            ) from error

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Read what `to_json` wrote.

        Args:
            stored: a dict as JSON has it.

        Returns:
            The source that was stored.

        Raises:
            ValueError: it is something else.
        """
        kinds = {"name": str, "version": int, "model": str, "manifest": str}
        if (
            not isinstance(stored, dict)
            or stored.keys() != kinds.keys()
            or not all(type(stored[key]) is kind for key, kind in kinds.items())
        ):
            raise ValueError(f"expected {', '.join(kinds)} of a release, got {stored!r}")
        return cls(**stored)

    def to_json(self) -> dict[str, Any]:
        """The source as JSON has it.

        Returns:
            name, version, model (SHA-256 of the weights' file) and manifest (SHA-256).
        """
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name} version {self.version} (model {self.model[:12]})"

    def check_same_model(self, what: str, other: "Source", other_what: str) -> None:
        """Refuse to compare codes of two models.

        Args:
            what: what has this source, for the message.
            other: the other source.
            other_what: what has the other one.

        Raises:
            ValueError: the models differ.
        """
        if self.model != other.model:
            raise ValueError(
                f"codes of two models cannot be compared: {what} comes from {self}, {other_what} from {other}"
            )
