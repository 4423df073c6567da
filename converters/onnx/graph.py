"""An ONNX model with its constants at hand, for edits and for reading."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from converters.first_line import first_line
from converters.grids import Grid, make_grid

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# Operators whose first input is what they move, spread or convert.
MOVING = frozenset({"Expand", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
# Runtimes join these to the operator before them.
FUSED = ("Clip", "Relu")
_CARRYING = MOVING | {QUANTIZE, DEQUANTIZE, "Cast"}


class OnnxGraph:
    """The main graph of a ModelProto: operators as a list, constants as arrays, who makes a value and who reads it.

    An edit changes `nodes` and `constants` and calls `index_`; `finish_` writes them into the model.
    """

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.model = model
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.nodes: list[Any] = []
        for node in model.graph.node:
            if node.op_type == "Constant" and [attribute.name for attribute in node.attribute] == ["value"]:
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self.nodes.append(_copied(node))
        self.index_()

    @classmethod
    def read(cls, path: Path) -> "OnnxGraph":
        """Read a file.

        Raises:
            ValueError: If it is damaged.
            ImportError: If onnx is not installed; the message names the extra.
        """
        try:
            import onnx
            from google.protobuf.message import DecodeError
        except ImportError as e:
            raise ImportError("reading .onnx files needs onnx; pip install 'edge_vit[onnx]'") from e
        try:
            model = onnx.load_model_from_string(path.read_bytes())
            onnx.checker.check_model(model)
        except (DecodeError, onnx.checker.ValidationError) as e:
            raise ValueError(f"{path}: no ONNX model, or a damaged one ({first_line(e)}); convert again") from e
        return cls(model)

    @property
    def outputs(self) -> list[str]:
        return [output.name for output in self.model.graph.output]

    def index_(self) -> None:
        """Find out anew who makes a value and who reads it."""
        values = [*self.model.graph.value_info, *self.model.graph.input, *self.model.graph.output]
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.readers: dict[str, list[Any]] = defaultdict(list)
        self.makers: dict[str, Any] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
            for name in node.output:
                self.makers[name] = node

    def maker(self, name: str) -> str:
        """Return the type of the operator that makes a value, "" for inputs and constants."""
        return str(self.makers[name].op_type) if name in self.makers else ""

    def is_constant(self, name: str) -> bool:
        """Tell whether a value is a constant, perhaps dequantized, spread or moved."""
        while name not in self.constants:
            if self.maker(name) not in _CARRYING:
                return False
            name = self.makers[name].input[0]
        return True

    def is_number(self, name: str) -> bool:
        """Tell whether a value is a float or a quantized one, and no size, index or truth."""
        from onnx import TensorProto

        return self._types.get(name) not in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)

    def readers_behind(self, name: str) -> list[Any]:
        """Return who reads a value; of a ReLU or clip that alone reads it, who reads that one's."""
        readers = self.readers[name]
        return self.readers[readers[0].output[0]] if len(readers) == 1 and readers[0].op_type in FUSED else readers

    def is_per_channel(self, node: Any) -> bool:
        """Tell whether a quantize or dequantize operator has several scales."""
        return self.constants[node.input[1]].ndim > 0

    def is_wide(self, node: Any) -> bool:
        """Tell whether a quantize or dequantize operator is of 16 bits."""
        return self.constants[node.input[2]].dtype in (np.int16, np.uint16)

    def grid(self, node: Any) -> Grid:
        """Return the grid of a quantize or dequantize operator of one scale, unsigned ones moved to signed ones."""
        zero_point = self.constants[node.input[2]]
        shift = {np.dtype(np.uint8): 128, np.dtype(np.uint16): 32768}.get(zero_point.dtype, 0)
        return make_grid(float(self.constants[node.input[1]]), int(zero_point) - shift)

    def add_constant_(self, name: str, value: np.ndarray) -> str:
        """Store an array under a new name, which is returned."""
        fresh, number = name, 0
        while fresh in self.constants or fresh in self.makers:
            number += 1
            fresh = f"{name}_{number}"
        self.constants[fresh] = value
        return fresh

    def finish_(self) -> None:
        """Write operators and constants into the model, less those that nothing reads; derive all types and shapes."""
        import onnx
        from onnx import numpy_helper

        needed = set(self.outputs)
        alive: list[Any] = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                alive.insert(0, node)
        self.nodes = alive
        self.constants = {name: value for name, value in self.constants.items() if name in needed}
        graph = self.model.graph
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v, order="C"), n) for n, v in self.constants.items()
        )
        inferred = onnx.shape_inference.infer_shapes(self.model, strict_mode=True)
        graph.value_info.extend(inferred.graph.value_info)
        self.index_()


def make_node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    """Return an operator of one output, named after it."""
    from onnx import helper

    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def _copied(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy
