"""Apple's protocol buffers, as coremltools generated them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_NAME = "_coremltools_proto"


def model_messages() -> ModuleType:
    """Return coremltools' module `proto.Model_pb2`, whose `Model` is the whole of a Core ML file.

    Only the folder of generated classes is loaded: importing coremltools itself takes ten seconds, and reading a file
    needs nothing else of it. Where coremltools is loaded as well, the classes are the same.

    Raises:
        ImportError: If coremltools is not installed; the message names the extra.
    """
    name = f"{_NAME}.Model_pb2"
    if name not in sys.modules:
        found = importlib.util.find_spec("coremltools")
        if found is None or found.origin is None:
            raise missing_coremltools(ImportError("No module named 'coremltools'", name="coremltools"))
        folder = Path(found.origin).parent / "proto"
        package = ModuleType(_NAME)
        package.__path__ = [str(folder)]
        sys.modules[_NAME] = package
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise missing_coremltools(e) from e


def missing_coremltools(error: ImportError) -> ImportError:
    """Return the error that says how to install coremltools."""
    message = f"coremltools is not installed ({error.name or error}); run: pip install 'edge_vit[coreml]'"
    return ImportError(message, name=error.name)
