"""Whether a release serves the codes of its model, and how well these retrieve."""
