"""Print as JSON what the dex of an APK defines and what it names. Runs by itself, with androguard on PYTHONPATH."""

import json
import sys
import zipfile


def report(apk: str) -> dict:
    """Return the dex's own classes with their superclasses and methods, and every type and method that it refers to."""
    from androguard.core.dex import DEX
    from loguru import logger

    logger.remove()
    with zipfile.ZipFile(apk) as opened:
        dex = DEX(opened.read("classes.dex"))
    manager = dex.CM
    defined = {}
    for own in dex.get_classes():
        methods = {m.get_name() + _joined(m.get_descriptor()): m.get_access_flags() for m in own.get_methods()}
        supers = [own.get_superclassname(), *own.get_interfaces()]
        defined[own.get_name()] = {"supers": supers, "methods": methods}
    types = [manager.get_type(i) for i in range(dex.header.type_ids_size)]
    references = []
    for i in range(dex.header.method_ids_size):
        owner, name, proto = manager.get_method(i)
        references.append([owner, name + _joined("".join(proto))])
    return {"defined": defined, "types": types, "references": references}


def _joined(descriptor: str) -> str:
    return descriptor.replace(" ", "")


if __name__ == "__main__":
    json.dump(report(sys.argv[1]), sys.stdout)
