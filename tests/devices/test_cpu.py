import pytest

from edge_vit.devices.cpu import describe_cpu, host_cpu

CASCADE_LAKE = "model name\t: Intel(R) Xeon(R) Gold 6248\nflags\t\t: fpu avx2 avx512f avx512_vnni\n" * 2
ALDER_LAKE = "model name\t: 12th Gen Intel(R) Core(TM)\nflags\t\t: fpu avx2 avx_vnni\n"
EPYC = "model name\t: AMD EPYC\nflags\t\t: fpu avx avx2\n"
PHONE = "Features\t: fp asimd asimddp\nCPU part\t: 0xd05\n\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd41\n"
PI_4 = "Features\t: fp asimd evtstrm crc32\nCPU part\t: 0xd08\n"


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        (CASCADE_LAKE, "Intel(R) Xeon(R) Gold 6248 (AVX512, VNNI)"),
        (ALDER_LAKE, "12th Gen Intel(R) Core(TM) (no AVX512, VNNI)"),
        (EPYC, "AMD EPYC (no AVX512, no VNNI)"),
        (PHONE, "ARM part 0xd05, 0xd41 (dot product, no i8mm)"),
        (PI_4, "ARM part 0xd08 (no dot product, no i8mm)"),
        ("flags\t: avx2\n", "unknown (no AVX512, no VNNI)"),
        ("model name\t: Some core\n", "Some core"),
        ("", ""),
    ],
)
def test_a_processor_is_named_with_its_int8_instructions(cpuinfo: str, said: str) -> None:
    assert describe_cpu(cpuinfo) == said


def test_this_machine_has_a_processor() -> None:
    assert host_cpu() and "(" in host_cpu()
