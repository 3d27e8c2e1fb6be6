"""The errors of this room, below ``launcher.errors.LauncherError``."""

from __future__ import annotations

from launcher.errors import ExitCode, LauncherError


class ModelError(LauncherError):
    """A model cannot be made, converted or run."""


class TrainingFailed(ModelError):
    """The run that was to give the checkpoint has not completed; the exit code is that of ``submit``."""

    def __init__(self, message: str, hint: str, exit_code: ExitCode) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class HostError(LauncherError):
    """A host cannot be reached, or cannot do what it should."""
