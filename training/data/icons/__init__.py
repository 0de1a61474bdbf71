"""The icons of the quickstart: drawn, and as a data set."""
