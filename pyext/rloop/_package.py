"""Runs the package's __init__.py, if it is ours. Called by __init__.*.so, see native/package.cpp.

PyPI's `rloop`, another event loop, has a package of the same name. Installed side by side, the two
share a folder and one file, __init__.py (so no other module of ours may have the name of one of
theirs). Whichever came last, and whatever an uninstallation took away: the import works as ours, or
says what to do.
"""

import os
import warnings
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import ModuleType

_FOLDER = os.path.dirname(__file__)  # noqa: PTH120 (imports pathlib)
# A file that only theirs has, and a name that only our __init__.py uses.
_THEIRS = "_compat.py"
_OURS = "new_uring_event_loop"
_REMEDY = (
    "run `pip uninstall rloop rloop-uring` and then `pip install` with the one of the two that "
    "you want"
)


def run(package: ModuleType) -> None:
    """Make `package` what our __init__.py says.

    Raises ImportError where that file is not ours any more; a RuntimeWarning where it is and the
    other distribution is there as well.
    """
    path = os.path.join(_FOLDER, "__init__.py")  # noqa: PTH118
    loader: SourceFileLoader | SourcelessFileLoader = SourceFileLoader(package.__name__, path)
    if not _is_there("__init__.py") and _is_there("__init__.pyc"):  # installed without sources
        path += "c"
        loader = SourcelessFileLoader(package.__name__, path)
    try:
        code = loader.get_code(package.__name__)
    except FileNotFoundError:
        code = None
    if code is None or _OURS not in code.co_names:
        happened = "overwritten" if code else "deleted"
        raise ImportError(
            f"the distribution `rloop` has {happened} {path} of the distribution `rloop-uring`: "
            f"{_REMEDY}",
            name=package.__name__,
            path=path,
        )
    if _is_there(_THEIRS):
        warnings.warn(
            f"the distributions `rloop` and `rloop-uring` are both installed in {_FOLDER}, and "
            f"`rloop` does not work: {_REMEDY}",
            RuntimeWarning,
            stacklevel=2,
        )
    # As if the importer had found the source.
    package.__file__ = path
    package.__dict__["__loader__"] = loader  # whose type differs between the versions
    if package.__spec__ is not None:
        package.__spec__.loader = loader
        package.__spec__.origin = path
    exec(code, package.__dict__)


def _is_there(name: str) -> bool:
    try:
        os.stat(os.path.join(_FOLDER, name))  # noqa: PTH116, PTH118
    except OSError:
        return False
    return True
