"""Run inside the emulation by peers.py: one model in one runtime of Python, each inference between two marks.

    python3 peers_guest.py RUNTIME MODEL INPUT.npy OUTPUT.npy RUNS

RUNTIME is onnxruntime, ncnn/fp32, ncnn/fp16, or mnn/ and one of MNN_WAYS. One thread each.
"""

import ctypes
import os
import sys
from collections.abc import Callable

import numpy as np

CLOSE, MARK_DESCRIPTOR, MARK_BEGIN, MARK_END = 57, -0x45564954, 2, 3  # as in litert_runner.c


# With little memory MNN may keep 8-bit weights as they are and bring values to int8 as they come.
MNN_WAYS = {
    "high": {"precision": "high"},
    "low": {"precision": "low"},
    "low-memory": {"precision": "low", "memory": "low"},
}


def load_onnxruntime(model: str, x: np.ndarray) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})[0]


def load_ncnn(model: str, x: np.ndarray, is_half: bool) -> Callable[[], np.ndarray]:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    if not is_half:
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(model)
    net.load_model(model.replace(".param", ".bin"))
    given = ncnn.Mat(x[0])

    def call() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", given)
        return np.array(extractor.extract("out0")[1])

    return call


def load_mnn(model: str, x: np.ndarray, way: str) -> tuple[Callable[[], object], Callable[[], np.ndarray]]:
    """Return also how to fill the input, whose memory a session uses for other things while it runs."""
    import MNN

    interpreter = MNN.Interpreter(model)
    session = interpreter.createSession({"numThread": 1, **MNN_WAYS[way]})
    given = interpreter.getSessionInput(session)
    held = MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe)

    def call() -> np.ndarray:
        interpreter.runSession(session)
        result = interpreter.getSessionOutput(session)
        shape = result.getShape()
        host = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), MNN.Tensor_DimensionType_Caffe)
        result.copyToHostTensor(host)  # of float16 it is the copy that has floats
        return np.array(host.getData(), np.float32)

    return lambda: given.copyFrom(held), call


def main() -> None:
    runtime, model, source, target, runs = sys.argv[1:]
    x = np.load(source)
    fill: Callable[[], object] = lambda: None  # noqa: E731
    if runtime == "onnxruntime":
        call = load_onnxruntime(model, x)
    elif runtime.startswith("mnn/"):
        fill, call = load_mnn(model, x, runtime.removeprefix("mnn/"))
    else:
        call = load_ncnn(model, x, runtime == "ncnn/fp16")
    libc = ctypes.CDLL(None)
    for _ in range(2 + int(runs)):
        fill()
        libc.syscall(CLOSE, MARK_DESCRIPTOR, MARK_BEGIN)
        y = call()
        libc.syscall(CLOSE, MARK_DESCRIPTOR, MARK_END)
    np.save(target, y)
    sys.stdout.flush()
    os._exit(0)  # the runtimes' own clean-up is not what is measured


if __name__ == "__main__":
    main()
