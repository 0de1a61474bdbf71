"""Raw pictures and raw texts -> feature rows, each with a description that rebuilds it, and a cache on disk."""
