"""The numbers that the paper prints: mAP in percent, mean of I2T and T2I.

Source: Peng et al., "Semantic-Consistent Bidirectional Contrastive Hashing for Noisy Multi-Label Cross-Modal
Retrieval", AAAI 2026, Tables 1-3. The authors' code takes the best epoch by test mAP. (The source text lacks the
last cell of DJSRH on IAPR TC-12; being unsupervised, that method has the same numbers at every noise rate.)
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# what the data sets are called here -> in the paper; a data set that is not here has no published numbers
BENCHMARKS = {
    "mirflickr": "MIRFlickr-25K",
    "nus-wide": "NUS-WIDE",
    "ms-coco": "MS-COCO",
    "iapr-tc12": "IAPR TC-12",
}


@dataclass(frozen=True)
class Published:
    """One method of the paper on one data set."""

    dataset: str
    method: str
    about: str
    """Year of the method (Tables 1-2), or what was taken out of it (Table 3)."""
    percent: dict[tuple[float, int], float]
    """mAP by (noise rate, bits)."""


@cache
def comparison() -> tuple[Published, ...]:
    """Tables 1 and 2: thirteen methods on four data sets, at three noise rates and four code lengths."""
    return _read("paper_tables_1_2.csv", "method", "year")


@cache
def ablation() -> tuple[Published, ...]:
    """Table 3: SCBCH and its four reductions on MS-COCO and IAPR TC-12, at three noise rates, with 64 bits."""
    return _read("paper_table_3_ablation.csv", "variant", "removed")


def _read(name: str, method: str, about: str) -> tuple[Published, ...]:
    results: dict[tuple[str, str], Published] = {}
    text = (files(__name__) / name).read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        one = Published(line["dataset"], line[method], line[about], {})
        one = results.setdefault((one.dataset, one.method), one)
        one.percent[float(line["noise_rate"]), int(line["bits"])] = float(line["mean_map_percent"])
    return tuple(results.values())
