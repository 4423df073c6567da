"""Say what a processor is, and whether it has the instructions that make int8 fast: a time without it says little."""

import platform
import re
from pathlib import Path

# What integer kernels are chosen by, and the kernel's words for it: of x86 behind "flags", of ARM behind "Features".
_X86 = (("AVX512", {"avx512f"}), ("VNNI", {"avx512_vnni", "avx_vnni"}))
_ARM = (("dot product", {"asimddp"}), ("i8mm", {"i8mm"}))


def describe_cpu(cpuinfo: str) -> str:
    """Return a processor's name and int8 instructions from /proc/cpuinfo's text, empty where that tells nothing.

    Such as "AMD EPYC (no AVX512, no VNNI)" or "ARM part 0xd05, 0xd41 (dot product, no i8mm)".
    """
    named = re.search(r"^model name\s*: (.+)$", cpuinfo, re.M)
    name = named[1].strip() if named else arm_parts(cpuinfo)
    found = re.search(r"^(flags|Features)\s*: (.+)$", cpuinfo, re.M)
    if not found:
        return name
    words = set(found[2].split())
    has = [word if words & any_of else f"no {word}" for word, any_of in (_X86 if found[1] == "flags" else _ARM)]
    return f"{name or 'unknown'} ({', '.join(has)})"


def arm_parts(cpuinfo: str) -> str:
    """Return the cores' part numbers as an ARM kernel shows them, empty where there are none."""
    parts = sorted(set(re.findall(r"^CPU part\s*: (\S+)$", cpuinfo, re.M)))
    return "ARM part " + ", ".join(parts) if parts else ""


def host_cpu() -> str:
    """Return this machine's processor as `describe_cpu` does; beyond Linux its name alone."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return describe_cpu(text) or f"{platform.processor() or platform.machine()} (instructions unknown)"
