"""The name under which Keras keeps this package's classes in saved models."""

PACKAGE = "scbch_keras"
