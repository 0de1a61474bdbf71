"""The command line, `scbch`."""
