"""A reader for the process of large bodies that does what readers may do. Imported there, so of few imports."""

import os

from scbch_keras.export.service.limits import InputError


class Odd:
    """What a reader may do."""

    def echo(self, body, *arguments):
        print("not an answer", flush=True)
        return body, *arguments

    def refuse(self, body):
        raise InputError("texts.3: no")

    def fail(self, body):
        raise KeyError("unexpected")

    def end(self, body):
        os._exit(9)
