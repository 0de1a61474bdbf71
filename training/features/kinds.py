"""The kinds of text features, by name. Light: the command line's help lists them."""

from typing import Literal

Kind = Literal["bow", "tfidf", "doc2vec"]
KINDS = ("bow", "tfidf", "doc2vec")
