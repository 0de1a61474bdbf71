"""Releases: made whole or not at all, described, kept in versions."""
