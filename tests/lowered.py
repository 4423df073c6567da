"""One chain for every format: make a model, quantize it, lower it, look into the file, run it, compare.

    Lowered.from_variant("levit_128s", resolution=64).int8().to("tflite", folder).outside(0).runs().agrees(db=30)

Each word does one step of the real pipeline and asserts what it is asked for; a later word needs the earlier ones.
"""

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
from converters.artefact import RUNNERS
from converters.card import ModelCard
from converters.grids import compare_operators, read_operators
from converters.manifest import OperatorsInfo
from converters.passes.grids import read as read_graph
from converters.passes.softmax import ends_in_softmax
from converters.result import ConversionResult
from converters.sqnr import sqnr_db
from edge_vit.deployment.targets import TARGETS, Request
from edge_vit.layers.fuse import fuse
from edge_vit.layers.pixel_input import PixelInput
from edge_vit.models import create_model
from edge_vit.models.weights import randomize_
from edge_vit.quantization.graph import export_graph
from edge_vit.quantization.half_scales import round_scales_
from edge_vit.quantization.pipeline import pixel_batches, run_pixels
from edge_vit.quantization.plan import make_plan
from edge_vit.quantization.processors import CPU, NPU, Processor
from edge_vit.quantization.ptq import calibrate
from edge_vit.quantization.quantizer import quantize_graph


def smooth_pictures(side: int | tuple[int, int], count: int = 8) -> np.ndarray:
    """Return pictures with detail of several sizes, uint8 (count, H, W, 3)."""
    height, width = (side, side) if isinstance(side, int) else side
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(count, 3, height, width)
    for cells in (3, 8):
        coarse = torch.rand(count, 3, cells, cells, generator=generator) * 255 / 2
        total += nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return total.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Lowered:
    """A model on its way into a file; every word returns the next stage and leaves this one as it was."""

    module: nn.Module
    pictures: np.ndarray
    precision: str = "fp32"
    outputs_named: tuple[str, ...] = ("logits",)
    batch: int = 1
    has_floats: bool = True
    narrow: nn.Module | None = None
    result: ConversionResult | None = None
    outputs: np.ndarray | None = None

    @classmethod
    def from_module(cls, module: nn.Module, side: int | tuple[int, int]) -> "Lowered":
        """Start from a pixel model, (1, side, side, 3) -> logits, in eval mode."""
        return cls(module=module, pictures=smooth_pictures(side))

    @classmethod
    def from_variant(
        cls, name: str, resolution: int | tuple[int, int], num_classes: int = 10, batch: int = 1
    ) -> "Lowered":
        """Start from a fused variant with random weights."""
        model = create_model(name, num_classes=num_classes, resolution=resolution)
        randomize_(model)
        module = PixelInput(fuse(model.eval()), resolution, IMAGENET_MEAN, IMAGENET_STD).eval()
        module.fill_batch_(batch)
        return replace(cls.from_module(module, resolution), batch=batch)

    def int8(self, processor: Processor = CPU) -> "Lowered":
        """Quantize, with ranges from the pictures that are compared later."""
        example = torch.zeros(self.batch, *self.pictures.shape[1:])
        graph = export_graph(self.module, example, has_floats=processor.has_floats)
        plan = make_plan(graph, processor=processor)
        ranges = round_scales_(graph, plan, calibrate(graph, plan, pixel_batches(self.pictures, self.batch)))
        module = quantize_graph(graph, plan, ranges)
        return replace(self, module=module, precision="int8", has_floats=processor.has_floats)

    def int16(self) -> "Lowered":
        """The same with activations of 16 bits, for NPUs."""
        graph = export_graph(self.module, torch.zeros(self.batch, *self.pictures.shape[1:]), has_floats=False)
        plan = make_plan(graph, processor=NPU)
        ranges = round_scales_(graph, plan, calibrate(graph, plan, pixel_batches(self.pictures, self.batch)))
        narrow = quantize_graph(graph, plan, ranges)
        wide = quantize_graph(graph, plan, ranges, is_wide=True)
        return replace(self, module=wide, narrow=narrow, precision="int16", has_floats=False)

    def probabilities(self) -> "Lowered":
        """End in a softmax; of an int8 graph it stays outside of the integers."""
        return replace(self, module=ends_in_softmax(self.module), outputs_named=("probabilities",))

    def to(
        self,
        target: str,
        folder: Path,
        backend: str | None = None,
        card: ModelCard = ModelCard(),  # noqa: B008
        io: Literal["uint8", "int8"] = "uint8",
    ) -> "Lowered":
        """Write the file; `backend` is the target's first by default."""
        key = next(k for k in TARGETS if k[0] == target and backend in (None, k[1]))
        spec = TARGETS[key]
        request = Request(
            precision=self.precision, outputs=self.outputs_named, card=card, has_floats=self.has_floats, io=io
        )  # fmt: skip
        options = spec.options(request)
        path = folder / f"{target}_{self.precision}{spec.suffix}"
        example = (torch.zeros(self.batch, *self.pictures.shape[1:]),)
        module = self.module if self.narrow is None or target != "tflite" else self.narrow
        result = importlib.import_module(spec.module).convert(module, example, path, options=options)
        assert result.path == path and path.exists() and result.precision == self.precision
        return replace(self, result=result)

    def outside(self, count: int) -> "Lowered":
        """Assert how many operators the runtime's fast kernels leave to others."""
        slow = self._result.details["slow_path"]
        assert len(slow) == count, [f"{op.type}: {op.reason}" for op in slow]
        return self

    def delegate_calls(self, count: int) -> "Lowered":
        """Assert into how many pieces the delegate cuts the network (ExecuTorch)."""
        assert self._operators.delegate_calls == count
        return self

    def operators(self, **wanted: dict[str, int]) -> "Lowered":
        """Assert the operators of some types by precision, as in operators(SOFTMAX={"float32": 1})."""
        found = {kind: self._operators.counts.get(kind, {}) for kind in wanted}
        assert found == wanted
        return self

    def same_integers(self) -> "Lowered":
        """Assert that the file holds every int8 operator of the graph with its scales, zero points and weights."""
        compared = compare_operators(read_graph(self.module), read_operators(self._result.path))
        assert compared.is_equal and compared.shared > 0, compared
        return self

    def runs(self) -> "Lowered":
        """Run the file in its runtime on the pictures."""
        module, function = RUNNERS[self._result.path.suffix].split(":")
        call = getattr(importlib.import_module(module), function)(self._result.path, 1)
        details = self._result.details
        shift = int(details.get("input_range", (0.0, 255.0))[0])
        inputs = (self.pictures.astype(np.int16) + shift).astype(details.get("input_dtype", "uint8"))
        outputs = np.concatenate(
            [np.atleast_2d(call(inputs[i : i + self.batch])) for i in range(0, len(inputs), self.batch)]
        )
        return replace(self, outputs=outputs)

    def agrees(self, db: float) -> "Lowered":
        """Assert the signal-to-noise ratio of the file's logits against the model that it was lowered from."""
        assert self.outputs is not None, "call runs() first"
        measured = sqnr_db(run_pixels(self.module, self.pictures, self.batch), self.outputs)
        assert measured >= db, f"{measured:.1f} dB"
        return self

    @property
    def _result(self) -> ConversionResult:
        assert self.result is not None, "call to() first"
        return self.result

    @property
    def _operators(self) -> OperatorsInfo:
        return self._result.details["operators"]
