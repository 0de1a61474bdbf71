"""How good a ranking by Hamming distance is: mAP, precision-recall, precision@N, precision within a radius.

numpy only. A database item is relevant to a query if the two share at least one label; queries to which
nothing is relevant are left out of every mean.

Codes of L bits have only L + 1 distances, so most of a ranking is ties, and the order inside a tie is not the
model's doing. Everything here, but for the reference mode of mAP, is therefore computed from the number of
items and of relevant items at each distance from a query, and is the exact expected value over all orders of
the ties (McSherry and Najork 2008; for hashing He et al., CVPR 2018). Queries are compared with the database
a block at a time: queries x database never stands in memory.
"""

from scbch_keras.metrics.retrieval import (
    Codes,
    CrossModalMAP,
    Labels,
    Ranks,
    Ties,
    cross_modal_map,
    mean_average_precision,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
)

__all__ = [
    "Codes",
    "CrossModalMAP",
    "Labels",
    "Ranks",
    "Ties",
    "cross_modal_map",
    "mean_average_precision",
    "precision_at_n",
    "precision_recall_curve",
    "precision_within_radius",
]
