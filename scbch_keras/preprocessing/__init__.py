"""Strings and picture files to features, said once for training, serving and exported graphs. numpy only."""
