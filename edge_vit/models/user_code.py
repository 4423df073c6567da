"""Functions of the user's own, named on a command line: package.module:function, or FILE.py:function."""

import contextlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from converters.first_line import first_line

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
    AssertionError,
)


def names_function(text: str) -> bool:
    """Tell whether a text names a function and not a file."""
    return _NAME.fullmatch(text) is not None and not Path(text).exists()


def function_name(text: str) -> str:
    """Return the function that a text names, without the file or module it stands in."""
    return text.rpartition(":")[2]


def file_of(text: str) -> str | None:
    """Return the file that a function stands in; None where its module has none that can be found.

    Raises:
        ValueError: If a file is named that does not exist.
    """
    module = text.rpartition(":")[0]
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise ValueError(f"{module}: no such file")
        return module
    _look_here()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def call_function(text: str, **offered: Any) -> Any:
    """Call a function and return what it returns.

    Args:
        text: package.module:function, with modules of the current folder among them, or FILE.py:function.
        offered: Arguments that it gets if it takes them by name.

    Raises:
        ValueError: If there is no such function, or it fails; the message says where.
    """
    function = _find(text)
    with errors_of(text, "failed"):
        try:
            names = inspect.signature(function).parameters
        except ValueError:  # of a class written in C
            names = {}  # type: ignore[assignment]
        return function(**{name: value for name, value in offered.items() if name in names})


@contextlib.contextmanager
def errors_of(text: str, what: str) -> Iterator[None]:
    """Turn an error of the user's code into a ValueError: "net.py:build failed: TypeError: ... (net.py line 3)".

    Args:
        text: As for `call_function`; where its file is among those that the error passed through, its line is said,
            else the last one outside torch.
    """
    try:
        yield
    except _ERRORS as e:
        told = f"{text} {what}: {_told(e)}{_where(e, file_of(text))}"
        if "data-dependent" in told:
            told += "; it decides by a picture's values: decide by shapes, or write torch.where"
        raise ValueError(told) from e


def _find(text: str) -> Callable[[], Any]:
    found = _NAME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} names no function; write package.module:function or FILE.py:function")
    module_name, name = found["module"], found["function"]
    try:
        module = _load_file(Path(module_name)) if module_name.endswith(".py") else _load_module(module_name)
    except _ERRORS as e:
        raise ValueError(f"{module_name} cannot be imported: {_told(e)}") from e
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = f"it has {', '.join(names[:8])}" if names else "it has none"
        raise ValueError(f"{module_name} has no function {name}; {hint}")
    return function  # type: ignore[no-any-return]


def _look_here() -> None:
    here = str(Path.cwd())  # where `python -m` looks; a console script does not
    if here not in sys.path:
        sys.path.insert(0, here)


def _load_module(name: str) -> Any:
    _look_here()
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


def _told(error: BaseException) -> str:
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def _where(error: BaseException, file: str | None) -> str:
    """Return the last line of the user's file that an error passed through, else the last one that is not torch's."""
    own, other = "", ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        place = f" ({Path(name).name} line {trace.tb_lineno})"
        if file is not None and Path(name).resolve() == Path(file).resolve():
            own = place
        elif f"{Path('/torch/')}" not in name and "edge_vit" not in Path(name).parts and Path(name).is_file():
            other = place
        trace = trace.tb_next
    return own or other
