"""The environment that onnx2tf runs in: its own, because it pins versions that nothing else here can use."""

from converters.environment import Recipe

VERSION = "2.6.9"
RECIPE = Recipe(
    name="onnx2tf",
    version=VERSION,
    module="onnx2tf",
    # onnx2tf pins what it names; the rest is what pip chose beside them when this was run.
    requirements=(
        f"onnx2tf=={VERSION}", "backports.strenum==1.2.8", "iniconfig==2.3.1", "markdown-it-py==4.3.0",
        "mdurl==0.1.2", "mpmath==1.3.0", "onnx-ir==1.1.0", "packaging==26.3", "pluggy==1.7.0", "Pygments==2.21.0",
        "rich==15.0.0", "sympy==1.14.0", "typing_extensions==4.16.0",
    ),
    reported=("onnx2tf", "onnx", "onnxsim", "numpy", "flatbuffers"),
    # onnx2tf asks for 3.12 or later; what it pins has no wheels beyond 3.13.
    pythons=((3, 12), (3, 13)),
    setting="EDGE_VIT_ONNX2TF",
    cost="0.7 GB, some minutes",
    otherwise="leave --backend out to convert with litert-torch",
)  # fmt: skip
