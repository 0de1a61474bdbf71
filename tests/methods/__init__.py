"""Tests of the methods; the methods that SCBCH is compared with, by name."""

from scbch_keras.methods import classes

BASELINES = {name: method for name, method in classes().items() if name != "scbch"}
