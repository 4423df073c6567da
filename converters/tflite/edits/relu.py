"""ReLUs that stand alone."""

import numpy as np

from converters.tflite.edits.flatbuffer import EditedModel


def fuse_relu_(model: EditedModel) -> None:
    """Write every int8 RELU as the addition of zero with a ReLU fused into it, which XNNPACK takes."""
    for op in model.graph.operators:
        if model.kind(op) != "RELU" or model.dtype(op.inputs[0]) != "int8":
            continue
        source = int(op.inputs[0])
        scale = float(model.graph.tensors[source].quantization.scale[0])
        zero = model.add_constant(b"zero", np.zeros((), np.int8), model.make_grid(scale))
        options = model.schema.AddOptionsT()
        options.fusedActivationFunction = model.schema.ActivationFunctionType.RELU
        model.change_operator(op, "ADD", [source, zero], options)
