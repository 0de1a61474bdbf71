"""The whole path on the icons, with a report."""
