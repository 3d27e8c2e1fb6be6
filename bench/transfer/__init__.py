"""Transfers beside their peers; run as ``python -m bench transfer``."""
