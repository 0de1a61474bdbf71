"""Data of one's own: files of arrays, tables, folders of pictures."""

from scbch_keras.training.data.own.read import OwnSplit, read_own, retrieval_data, split_own

__all__ = ["OwnSplit", "read_own", "retrieval_data", "split_own"]
