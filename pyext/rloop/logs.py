"""Where log lines go: the loggers ``rloop.*`` and the variable ``RLOOP_LOG``.

The native half formats a line only when its level is on; the level is taken from the logger
``rloop`` each time a loop is made. ``RLOOP_LOG=debug`` (or ``trace``, ``info``, ``warning``)
prints to standard error without any logging set-up of the program; ``RUST_LOG``, which the
predecessor's users set, means the same while ``RLOOP_LOG`` is not set.
"""

import logging
import os
import sys
import warnings

from . import _core

TRACE = 5
_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": 100,
}

logger = logging.getLogger("rloop")


def configure_from_environment() -> None:
    """Obey RLOOP_LOG; called once, when rloop is imported. A level that does not exist is told."""
    logging.addLevelName(TRACE, "TRACE")
    wanted = os.environ.get("RLOOP_LOG")
    if not wanted:
        wanted = os.environ.get("RUST_LOG", "")
        if wanted.lower() not in _LEVELS:  # RUST_LOG may hold filters of other programs
            return
    level = _LEVELS.get(wanted.lower())
    if level is None:
        message = f"RLOOP_LOG is {wanted!r}; it should be one of {', '.join(_LEVELS)}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    update_native_level()


def update_native_level() -> None:
    """Tell the native half what the logger would let through."""
    _core.set_log_level(logger.getEffectiveLevel())
