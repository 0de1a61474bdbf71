"""Indexes of codes in stores that other programs keep: PostgreSQL, Milvus."""
