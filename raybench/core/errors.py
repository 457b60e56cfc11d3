"""Errors that users meet, each with the exit code the command ends with.

RaybenchError                  exit  raised when
  InternalError                1     an invariant of raybench itself does not hold: our fault, with a traceback
  ConfigError                  2     the configuration or the command line is wrong; all mistakes in one message
  DataError                    2     a data set cannot be used: missing, empty, duplicate ids, not UTF-8
  CheckpointError              2     a checkpoint cannot be loaded: missing, truncated, without model_type
  RunError                     2     a run directory cannot be used: in use, other plan, newer version
  IncompleteError              3     the run stopped before its end and can be resumed by the same command
    StorageError               3     the disk is full or refuses to write
  ToleranceError               4     the run finished with more row errors or failed models than allowed
  EngineError                  1     an engine could not answer a shard; the driver retries elsewhere
    EngineDead                 1     the engine is gone and must be replaced

Every error is one message, so that it survives pickling between processes unchanged.
"""

from __future__ import annotations


class RaybenchError(Exception):
    """Base of all errors that raybench raises on purpose; the message is complete and meant for the user."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InternalError(RaybenchError):
    """An invariant of raybench does not hold."""


class ConfigError(RaybenchError, ValueError):
    """The configuration or the command line is wrong."""

    exit_code = 2


class DataError(RaybenchError, ValueError):
    """A data set cannot be used."""

    exit_code = 2


class CheckpointError(RaybenchError, ValueError):
    """A checkpoint cannot be loaded."""

    exit_code = 2


class RunError(RaybenchError, RuntimeError):
    """A run directory cannot be used."""

    exit_code = 2


class IncompleteError(RaybenchError, RuntimeError):
    """The run stopped before its end; the same command resumes it."""

    exit_code = 3


class StorageError(IncompleteError):
    """The disk is full or refuses to write; nothing already committed is lost."""


class ToleranceError(RaybenchError, RuntimeError):
    """The run finished, with more row errors or failed models than allowed."""

    exit_code = 4


class EngineError(RaybenchError, RuntimeError):
    """An engine could not answer a shard."""


class EngineDead(EngineError):
    """The engine is gone: nothing more can be asked of it."""
