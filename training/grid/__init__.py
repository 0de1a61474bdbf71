"""Grids of the paper's protocol, and their tables beside the published numbers."""
