"""What a written file computes, operator by operator: a fault of its runtime told from what int8 costs anyway."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vit.deployment.checks import list_pictures
from edge_vit.deployment.sensitivity import SensitivityConfig
from edge_vit.models.user_code import function_name

if TYPE_CHECKING:
    from converters.manifest import Manifest
    from edge_vit.deployment.pictures import Pictures
    from edge_vit.quantization.pipeline import Int8Graph
    from edge_vit.quantization.written import Written

MOST_STEPS = 2  # by which rounding in a kernel may move a value; more is a fault
_NO_VALUES = "ExecuTorch shows no values inside a delegate; its int8 operators and its outputs are compared"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtefactResult:
    """A written file beside its graph and the float network; ratios are signal to noise in dB.

    Attributes:
        written: Every int8 operator; None where the runtime shows no values inside a file, and `reason` says so.
        shared, operators: Int8 operators whose kind, weights and grids file and graph share, of those of the graph.
        graph_db: Outputs of the file against the graph's, and `float_db` against the float network's.
        faulty: Operators that are more than MOST_STEPS from what the graph computes from the same inputs.
    """

    artefact: str
    target: str
    data: str
    written: "Written | None"
    reason: str
    shared: int
    operators: int
    graph_db: float
    float_db: float
    faulty: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def is_faithful(self) -> bool:
        """Tell whether the file holds the graph's integers and no operator computes something else."""
        return not self.faulty and self.shared == self.operators


def run(config: SensitivityConfig, say: Say = lambda line: None) -> ArtefactResult:
    """Run a written file on pictures and compare the value of every int8 operator with its graph's.

    Args:
        config: Its `artefact` is the file.
        say: Called with progress, line by line.

    Raises:
        ValueError: If file, manifest, weights or pictures do not fit; the message says what to do.
        ImportError: If the file's runtime is missing; the message names the extra.
    """
    from converters.artefact import check_artefact

    assert config.artefact is not None
    manifest = check_artefact(config.artefact)
    if manifest.model != function_name(config.model):
        raise ValueError(f"{config.artefact} is {manifest.model}, not {config.model}; name that variant")
    if "int8" not in manifest.precision:
        raise ValueError(f"{config.artefact} is {manifest.precision}; name an int8 file, which alone has integers")
    images = list_pictures(config.data, "val")
    assert images is not None
    # From here on torch is loaded: what is wrong with a request has been said.
    from calibration.dataset import skipped_lines
    from calibration.preprocess import Preprocess
    from edge_vit.deployment.pictures import load_pictures

    pictures = load_pictures(images, Preprocess(**manifest.input.preprocess_fields()), config.num_images)
    say(f"running {config.artefact.name} on {pictures.description}")
    made = rebuild(manifest, config.artefact.parent)
    return _compared(config.artefact, manifest, made, pictures, tuple(skipped_lines(pictures.skipped)))


def rebuild(manifest: "Manifest", folder: Path) -> "Int8Graph":
    """Make the int8 graph of an artefact once more, from what its manifest says; it takes one picture.

    Args:
        folder: Where the artefact lies.

    Raises:
        ValueError: If the weights are gone or are not the same file any more.
    """
    from calibration.preprocess import Preprocess
    from edge_vit.evaluation.comparison import find_reference, recorded_network
    from edge_vit.models.sources import recorded_weights
    from edge_vit.quantization.own_float import build_own
    from edge_vit.quantization.pipeline import BEST, BIASES, KEPT_FLOAT, build_float, prepare_int8, unpacked
    from edge_vit.quantization.plan import QParams
    from edge_vit.quantization.processors import find_processor

    facts = manifest.quantization
    if BEST in facts:
        raise ValueError(
            f"{manifest.file.name} was made with --calib-method best, whose rounded weights it alone holds; its graph "
            "cannot be made again to compare with"
        )
    source = find_reference(manifest, folder)
    if manifest.precision != "int8_ptq":  # else the float weights were rounded
        source = recorded_weights(facts["ranges_from"], folder)
    preprocess = Preprocess(**manifest.input.preprocess_fields())
    known = {name: QParams(scale=scale, zero_point=zero) for name, (scale, zero) in facts["ranges"].items()}
    if manifest.network is None:
        float_model = build_float(manifest.model, source, preprocess.resolution)
    else:
        classes = [{"id": label.id, "name": label.name} for label in manifest.classes]
        float_model, made_from = build_own(recorded_network(manifest, manifest.network), source, classes=classes)
        if source.checkpoint is None and made_from.digest != manifest.weights.sha256:
            raise ValueError(f"{source.label} gives other weights than those that were converted; convert again")
    return prepare_int8(
        float_model, None,
        processor=find_processor(manifest.processor), keep_float=facts.get(KEPT_FLOAT, ()), known_ranges=known,
        known_biases={name: unpacked(text) for name, text in facts.get(BIASES, {}).items()},
    )  # fmt: skip


def _compared(
    path: Path, manifest: "Manifest", made: "Int8Graph", pictures: "Pictures", skipped: tuple[str, ...]
) -> ArtefactResult:
    from converters.artefact import open_artefact, softmax, to_input
    from converters.grids import compare_operators, read_operators
    from converters.passes import grids
    from converters.sqnr import sqnr_db
    from converters.values import READERS, read_values
    from edge_vit.quantization.pipeline import run_pixels
    from edge_vit.quantization.quantizer import quantize_graph
    from edge_vit.quantization.simulate import Simulation
    from edge_vit.quantization.written import compare_written

    quantized = quantize_graph(made.graph, made.plan, made.ranges)
    simulation = Simulation(made)
    outputs = open_artefact(path).run(pictures.pixels)
    expected = run_pixels(quantized, pictures.pixels)
    floats = run_pixels(lambda images: simulation.logits(simulation.run(images, ())), pictures.pixels)
    if manifest.output.kind == "probabilities":
        expected, floats = softmax(expected), softmax(floats)
    of_graph = grids.read(quantized)
    written = None
    if path.suffix in READERS:
        operators, call = read_values(path)
        written = compare_written(
            simulation, quantized, operators, lambda picture: call(to_input(picture, manifest.input)), pictures.pixels
        )
    return ArtefactResult(
        artefact=path.name,
        target=manifest.target,
        data=pictures.description,
        written=written,
        reason="" if written is not None else _NO_VALUES,
        shared=compare_operators(of_graph, read_operators(path)).shared,
        operators=len(of_graph),
        graph_db=sqnr_db(expected, outputs),
        float_db=sqnr_db(floats, outputs),
        faulty=() if written is None else tuple(one.name for one in written.layers if one.steps > MOST_STEPS),
        skipped=skipped,
    )
