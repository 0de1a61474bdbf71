"""Codes of many files at once, on one machine or many, started again where they ended. Neither keras nor a backend."""
