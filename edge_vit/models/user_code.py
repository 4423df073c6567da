"""Functions of the user's own, named on a command line: package.module:function, or FILE.py:function."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NAME = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.+\.py):(?P<function>[A-Za-z_]\w*)")
# What somebody else's code is known to raise where it is not what was meant.
_ERRORS = (
    ValueError,
    TypeError,
    RuntimeError,
    OSError,
    AttributeError,
    LookupError,
    ImportError,
    SyntaxError,
    NameError,
)


def names_function(text: str) -> bool:
    """Tell whether a text names a function and not a file."""
    return _NAME.fullmatch(text) is not None and not Path(text).exists()


def call_function(text: str) -> Any:
    """Call a function without arguments and return what it returns.

    Args:
        text: package.module:function, with modules of the current folder among them, or FILE.py:function.

    Raises:
        ValueError: If there is no such function, or it fails; the message says where.
    """
    function = _find(text)
    try:
        return function()
    except _ERRORS as e:
        raise ValueError(f"{text} failed: {type(e).__name__}: {_first_line(e)}{_where(e, function)}") from e


def _find(text: str) -> Callable[[], Any]:
    found = _NAME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} names no function; write package.module:function or FILE.py:function")
    module_name, name = found["module"], found["function"]
    try:
        module = _load_file(Path(module_name)) if module_name.endswith(".py") else _load_module(module_name)
    except _ERRORS as e:
        raise ValueError(f"{module_name} cannot be imported: {type(e).__name__}: {_first_line(e)}") from e
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = f"it has {', '.join(names[:8])}" if names else "it has none"
        raise ValueError(f"{module_name} has no function {name}; {hint}")
    return function  # type: ignore[no-any-return]


def _load_module(name: str) -> Any:
    here = str(Path.cwd())  # where `python -m` looks; a console script does not
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(name)


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that its classes find their module
    spec.loader.exec_module(module)
    return module


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _where(error: BaseException, function: Callable[[], Any]) -> str:
    """Return the last line of the user's file that an error passed through."""
    file, place = getattr(getattr(function, "__code__", None), "co_filename", None), ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            place = f" ({Path(str(file)).name} line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
