"""Methods of the field on the branches and data of SCBCH, one a file: its class and the terms of its loss.

`VARIANTS` has a row for each that can be trained by name, from which the command line, tables and pages are made.
Importing this package does not import keras; `Variant.load` does.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from scbch_keras.hashing import CrossModalHashing
    from scbch_keras.labels.posterior import NoiseModel

_OBJECTIVE = ("margin", "shift", "alpha", "beta", "gamma", "neighbors", "warmup_epochs", "l2")


class Variant(NamedTuple):
    """A method with its settings, as it is trained by name."""

    method: str
    """What tables call it."""
    module: str
    """Of this package, where the class is."""
    settings: Mapping[str, Any] = {}
    """Arguments of the class that differ from its own defaults."""
    change: str = ""
    """What is changed in the method, as tables say it."""
    takes: tuple[str, ...] = ("l2",)
    """Settings of a recipe that the class takes too."""
    warmup_share: float | None = None
    """Warm-up as a share of the epochs, where the recipe does not say how many."""

    noise_model: "NoiseModel" = "count"
    """How posterior labels are estimated."""
    class_name: str = ""
    """Of the method's class; "": what tables call it."""

    def load(self) -> "type[CrossModalHashing]":
        """The class."""
        return getattr(import_module(f"{__name__}.{self.module}"), self.class_name or self.method)


def _scbch(
    method: str = "SCBCH", change: str = "", noise_model: "NoiseModel" = "count", **settings: Any
) -> Variant:
    return Variant(method, "scbch", settings, change, _OBJECTIVE, noise_model=noise_model, class_name="SCBCH")


# The paper's ablations (Table 3), the equations as printed, what goes beyond the paper, and other methods.
VARIANTS: dict[str, Variant] = {
    "full": _scbch(),
    "no-classification": _scbch("SCBCH-1", "no classification loss", classification=False),
    "no-contrastive": _scbch("SCBCH-2", "no contrastive loss", contrastive=False),
    "no-confidence": _scbch("SCBCH-3", "no confidence weights", confidence_weighting=False),
    "no-attraction": _scbch("SCBCH-4", "no attraction term", attraction=False),
    "paper-dialect": _scbch(change="the paper's equations", dialect="paper"),
    "posterior": _scbch("SCBCH on posterior labels", labels="posterior"),
    "posterior-without-intra-modal": _scbch(
        "SCBCH on posterior labels", "no intra-modal term", labels="posterior", intra_modal=False
    ),
    "posterior-independent": _scbch(
        "SCBCH on posterior labels", "independent model", noise_model="independent", labels="posterior"
    ),
    # At the authors' eta, 1, the balance term keeps DCMH from learning in these few steps; see docs/beyond.md.
    "dcmh": Variant("DCMH", "dcmh", {"eta": 0.01}),
    # The authors' command for MIRFlickr.
    "ucch": Variant("UCCH", "ucch", {"alpha": 0.7, "shift": 0.1}),
    "infonce": Variant("InfoNCE", "infonce"),
    # The authors warm up for 19 of 100 epochs.
    "nrch": Variant("NRCH", "nrch", takes=("l2", "warmup_epochs"), warmup_share=0.19),
    "nrch-no-selection": Variant("NRCH", "nrch", {"selection": False}, "no selection"),
    "rshnl": Variant("RSHNL", "rshnl", {"center_units": (1024, 1024)}, takes=("l2", "warmup_epochs")),
    # The authors' warm-up is 10 of 100 epochs.
    "nacd": Variant("NACD", "nacd", takes=("l2", "warmup_epochs", "neighbors"), warmup_share=0.1),
    "dhrl": Variant("DHRL", "dhrl", change="without its transformer"),
    "djsrh": Variant("DJSRH", "djsrh"),
    "dgcpn": Variant("DGCPN", "dgcpn"),
    "cpah": Variant("CPAH", "cpah", change="after a third party's code"),
    "cirh": Variant("CIRH", "cirh"),
    "mian": Variant("MIAN", "mian"),
    "graded-attraction": _scbch(change="attraction by R", attraction_by="similarity"),
    "posterior-graded-attraction": _scbch(
        "SCBCH on posterior labels", "attraction by R", labels="posterior", attraction_by="similarity"
    ),
}


def classes() -> "dict[str, type[CrossModalHashing]]":
    """The class of each method, by the name of its module."""
    return {variant.module: variant.load() for variant in VARIANTS.values()}


def class_modules() -> dict[str, str]:
    """The module of each method's class, by the class' name. Imports nothing."""
    return {
        variant.class_name or variant.method: f"methods.{variant.module}" for variant in VARIANTS.values()
    }
