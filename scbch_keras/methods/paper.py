"""What the authors trained with on each benchmark. Needs nothing but Python."""

from typing import Any

BENCHMARKS: dict[str, dict[str, Any]] = {
    "mirflickr": {"num_classes": 24, "margin": 0.15, "shift": 0.8, "neighbors": 20},
    "nus-wide": {"num_classes": 21, "margin": 0.2, "shift": 1.0, "neighbors": 20},
    "ms-coco": {"num_classes": 80, "margin": 0.3, "shift": 1.1, "neighbors": 20},
    "iapr-tc12": {"num_classes": 255, "margin": 0.3, "shift": 1.2, "neighbors": 20},
}
