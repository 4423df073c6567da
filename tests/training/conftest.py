"""A tiny variant, a folder of small pictures, and a finished training on them."""

import pytest
import tiny_training as tiny


@pytest.fixture(scope="package", autouse=True)
def _tiny_variant():
    tiny.register()
    yield
    tiny.unregister()


@pytest.fixture(scope="package")
def pictures(tmp_path_factory):
    """Two classes that differ in colour: 32 pictures to learn from, 16 to judge by."""
    return tiny.write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="package")
def command(pictures):
    """Return command(folder, *flags, data=...) -> the arguments of `train`."""

    def command(folder, *flags, data=pictures):
        return [*tiny.COMMON, "--data", str(data), "--output-dir", str(folder), *map(str, flags)]

    return command


@pytest.fixture(scope="package")
def run(command):
    """Return run(folder, *flags, data=...) -> the log of a training that succeeds."""
    from edge_vit import train

    def run(folder, *flags, **options):
        assert train.main(command(folder, *flags, **options)) == 0
        return tiny.read_log(folder)

    return run


@pytest.fixture(scope="package")
def finished(run, tmp_path_factory):
    """A float training of three epochs: its folder and its log."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder, *tiny.LEARNS)


@pytest.fixture(scope="package")
def float_weights(finished):
    return finished[0] / f"{tiny.NAME}_float.safetensors"
