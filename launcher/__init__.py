"""What a person runs: plan, submit, follow and manage training runs (see docs/design.md)."""

__version__ = "0.1.0"
