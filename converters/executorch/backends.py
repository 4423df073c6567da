"""ExecuTorch's partitioners beside XNNPACK's, which lower here for processors that are elsewhere."""

from typing import Any, Literal

Backend = Literal["xnnpack", "coreml", "vulkan"]
TITLES: dict[Backend, str] = {"xnnpack": "XNNPACK", "coreml": "Core ML", "vulkan": "Vulkan"}


def other_partitioner(backend: Backend) -> Any:
    """Return the partitioner of "coreml" (Apple's Neural Engine and GPU, in half precision) or "vulkan" (GPUs).

    Raises:
        ImportError: If coremltools is not installed, for "coreml".
    """
    if backend == "vulkan":
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        return VulkanPartitioner()
    try:
        import coremltools
    except ImportError as e:
        raise ImportError("coremltools is not installed; run: pip install 'edge_vit[coreml]'", name=e.name) from e
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=coremltools.precision.FLOAT16,
        compute_unit=coremltools.ComputeUnit.ALL,
        minimum_deployment_target=coremltools.target.iOS17,  # as .mlpackage files of --target coreml
    )
    return CoreMLPartitioner(compile_specs=specs)
