"""What a conversion is asked for, and what comes of it. Importing this loads no runtime."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from converters.tflite.chips import find_chips
from edge_vit.deployment.sizes import LARGE_VARIANTS, check_size
from edge_vit.deployment.targets import Io, Output, Precision, find_backends
from edge_vit.models.limits import Resolution
from edge_vit.models.own import OwnNetwork, check_network, find_network
from edge_vit.models.user_code import names_function
from edge_vit.quantization.processors import CPU, NPU, Processor, check_request, find_processor

if TYPE_CHECKING:
    from converters.manifest import Manifest
    from edge_vit.deployment.agreement import Agreement

NUM_CALIBRATION_PICTURES = 128
NUM_COMPARED_PICTURES = 2000
BUDGET = "budget"  # in a manifest's account of the quantization: how --max-drop was met
CalibrationMethod = Literal["corrected", "mse", "percentile", "min_max", "entropy", "best"]
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)
FREE = "free"  # batch: any number of pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertConfig:
    """One conversion; `python -m edge_vit.convert --help` says what each field is.

    Raises:
        ValueError: If values are not allowed or do not go together.
    """

    model: str
    target: str
    backend: str = ""
    precision: Precision = "fp32"
    processor: str = ""
    io: Io = "uint8"
    weights: str = "auto"
    raw_weights: bool = False
    labels: Path | None = None
    calib: Path | None = None
    calib_images: int = NUM_CALIBRATION_PICTURES
    calib_method: CalibrationMethod | Literal[""] = ""
    data: Path | None = None
    data_images: int = NUM_COMPARED_PICTURES
    max_drop: float | None = None
    resolution: Resolution | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop: float | None = None
    batch: int | Literal["free"] = 1
    output: Output = "logits"
    features: bool = False
    float_between: Literal["fp16", "fp32"] = "fp16"
    etrecord: Path | None = None
    android: Path | None = None
    npu: str = ""
    output_dir: Path = Path("artifacts")
    explain: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        check_network(self.model, self.resolution, mean=self.mean, std=self.std, crop=self.crop)
        targets = [target for target, _ in self.backends()]
        check_request(self.made_for, self.precision, targets)
        is_classifier = self.output == "logits" and not self.features
        if self.io == "int8" and not (self.precision == "int8" and targets == ["tflite"] and is_classifier):
            raise ValueError("--io int8 is for logits with --target tflite --int8; leave it out")
        for name in ("calib_images", "data_images", "batch"):
            value = getattr(self, name)
            if value != FREE and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} {value} is not allowed; use 1 or more" + f", or {FREE}" * (name == "batch"))
        if not self.is_quantized:
            for target in targets:
                check_size(target, self.model, LARGE_VARIANTS.get(self.model, 0))
        fixed = {"tflite": "its input cannot be resized", "executorch": "it is lowered for one shape"}
        if self.batch == FREE and (wrong := [target for target in targets if target in fixed]):
            raise ValueError(
                f"--batch free is not for {wrong[0]}: {fixed[wrong[0]]}; give a number, or use --target onnx"
            )
        if self.batch != 1 and "coreml" in targets:
            raise ValueError(
                f"--batch {self.batch} is not for coreml: an image input takes one picture; leave --batch out, and "
                "hand several to MLModel.predictions at once"
            )
        if self.android is not None and self.batch != 1:
            raise ValueError(f"--batch {self.batch} is not for the app, which classifies one picture at a time")
        if self.npu:
            find_chips(self.npu)
            if targets != ["tflite"]:
                raise ValueError(f"--npu {self.npu} compiles .tflite files; use --target tflite")
        if self.features:
            self._check_features()
        if self.explain and self.precision != "int8":
            raise ValueError("--explain shows where int8 loses accuracy; add --int8")
        if self.max_drop is not None:
            self._check_budget(self.max_drop)
        if self.etrecord is not None and "executorch" not in targets:
            raise ValueError(f"--etrecord is ExecuTorch's; {self.target} writes none")
        if self.android is not None and targets == ["coreml"]:
            raise ValueError("--android takes what Android runs, tflite or executorch; coreml is for Apple's systems")
        if self.android is not None and targets == ["onnx"]:
            raise ValueError("--android takes what the app runs, tflite or executorch; it has no ONNX Runtime")

    def _check_budget(self, max_drop: float) -> None:
        if self.precision != "int8":
            raise ValueError("--max-drop is what int8 may lose; add --int8")
        if not self.made_for.has_floats:
            raise ValueError(f"--max-drop leaves operators in float, which --processor {self.processor} does not have")
        if self.data is None:
            raise ValueError("--max-drop is measured on pictures by class; give them with --data DIR")
        if not 0.0 <= max_drop <= 100.0:
            raise ValueError(f"--max-drop {max_drop:g} is not allowed; use 0 to 100 points")

    def _check_features(self) -> None:
        asked = {
            "--labels": self.labels is not None,
            "--output probabilities": self.output != "logits",
            "--explain": self.explain,
            "--max-drop": self.max_drop is not None,
            "--android": self.android is not None,
        }
        if wrong := [flag for flag, is_given in asked.items() if is_given]:
            raise ValueError(f"--features gives no classes and does not go with {wrong[0]}; leave one of them out")
        if names_function(self.model):
            raise ValueError(
                "--features gives the stages of our variants; a network of your own has none, leave it out"
            )
        if self.backend == "onnx2tf":
            raise ValueError("--features needs the backend litert-torch; leave --backend onnx2tf out")

    def own_network(self) -> OwnNetwork | None:
        """Return the user's own network where that is asked for, None for a variant."""
        return find_network(self.model, self.resolution, mean=self.mean, std=self.std, crop=self.crop)

    @property
    def is_quantized(self) -> bool:
        return self.precision in ("int8", "int16")

    @property
    def made_for(self) -> Processor:
        """The processor that is named, or the one that files of this precision are for."""
        return find_processor(self.processor or (NPU.name if self.precision == "int16" else CPU.name))

    @property
    def ranges_by(self) -> CalibrationMethod:
        """The method that is named, or the one for files of this precision."""
        return self.calib_method or ("best" if self.precision == "int16" else "corrected")

    @property
    def is_free_batch(self) -> bool:
        return self.batch == FREE

    @property
    def pictures_at_once(self) -> int:
        """How many a graph is exported with; two where it leaves open how many it takes."""
        return 2 if isinstance(self.batch, str) else self.batch

    def backends(self) -> tuple[tuple[str, str], ...]:
        """Return the keys of TARGETS that are asked for."""
        return find_backends(self.target, self.backend, self.precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertResult:
    """What was written for one target.

    Attributes:
        sqnr_to_graph_db: The file against the torch graph it was lowered from; None where it does not run here.
        slow_path: Operators that the runtime's fast kernels do not take, with the reason.
        layers: Where signal is lost, with `explain`.
        android: What became part of the app, with `android`.
    """

    artefact: Path
    manifest_path: Path
    manifest: "Manifest"
    notes: tuple[str, ...]
    sqnr_to_graph_db: float | None
    slow_path: tuple[str, ...]
    seconds: float
    layers: tuple[tuple[str, float], ...] = ()
    android: str = ""
    ai_pack: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedSet:
    """One graph in every format that was asked for; how far the files agree, for the target "all" alone."""

    results: tuple[ConvertResult, ...]
    agreement: "Agreement | None"
