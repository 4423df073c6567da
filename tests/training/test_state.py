"""What a training leaves on disk: damaged in any way it is one message; a disk that takes nothing is one line."""

import errno
import io
import json
import os
import re
import resource
import zipfile

import pytest
import torch

from edge_vit.training import state as states

FINGERPRINT = {"lr": 1e-3, "epochs": 6, "warmup_share": 0.05, "freeze_share": 0.0, "train": "32 pictures a1"}
STATE = {
    "fingerprint": FINGERPRINT, "epoch": 2, "chosen_epoch": 1, "top1": 50.0, "best": [40.0, 1.5], "start_top1": None,
    "model": {"w": torch.ones(3)}, "optimizer": {}, "averaged": {"w": torch.zeros(3)},
}  # fmt: skip


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch /tmp/edge_vit_was_here",))


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def flipped(data):
    middle = len(data) // 3
    return data[:middle] + bytes(b ^ 0xFF for b in data[middle : middle + 64]) + data[middle + 64 :]


BAD_STATES = {
    "empty": lambda: b"",
    "text": lambda: b"not a state",
    "zeros": lambda: bytes(4096),
    "half": lambda: saved(STATE)[: len(saved(STATE)) // 2],
    "flipped": lambda: flipped(saved(STATE)),
    "an empty zip": lambda: zipped("nothing", b""),
    "a zip with a garbage pickle": lambda: zipped("archive/data.pkl", b"\x80\x02garbage"),
    "hostile": lambda: saved({**STATE, "model": Hostile()}),
    "a number": lambda: saved(7),
    "a list": lambda: saved([STATE]),
    "a model's weights": lambda: saved({"head.weight": torch.ones(2, 2)}),
    "without its epoch": lambda: saved({key: value for key, value in STATE.items() if key != "epoch"}),
    "an epoch that is a text": lambda: saved({**STATE, "epoch": "2"}),
    "of an older version": lambda: saved({k: v for k, v in STATE.items() if k not in ("start_top1", "chosen_epoch")}),
    "old torch format": lambda: (lambda b: (torch.save(STATE, b, _use_new_zipfile_serialization=False), b)[1])(
        io.BytesIO()
    ).getvalue(),
}
MESSAGE = r"last\.pt is no state that a training left, or it is damaged; move it away to start anew, or choose another"


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_bad_state_is_one_message(tmp_path, name):
    (tmp_path / "last.pt").write_bytes(BAD_STATES[name]())
    with pytest.raises(ValueError, match=MESSAGE) as caught:
        states.read_state(tmp_path)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert not os.path.exists("/tmp/edge_vit_was_here")


def test_a_folder_in_place_of_the_state_is_the_same_message(tmp_path):
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(ValueError, match=MESSAGE):
        states.read_state(tmp_path)


def test_a_state_that_does_not_fit_is_the_same_message(tmp_path):
    with pytest.raises(ValueError, match=MESSAGE):
        states.restore_(STATE, tmp_path, model=torch.nn.Linear(2, 2))


def test_a_state_comes_back_as_it_was(tmp_path):
    assert states.read_state(tmp_path) is None
    states.write_state(tmp_path, STATE)
    read = states.read_state(tmp_path)
    assert os.listdir(tmp_path) == ["last.pt"]
    assert torch.equal(read["model"]["w"], STATE["model"]["w"]) and read["fingerprint"] == FINGERPRINT
    module = torch.nn.Module()
    module.register_buffer("w", torch.zeros(3))
    states.restore_(read, tmp_path, model=module)
    assert torch.equal(module.w, torch.ones(3))


def check(may_prolong=False, done=2, **changes):
    states.check_settings("FOLDER", FINGERPRINT, {**FINGERPRINT, **changes}, done, may_prolong)


def test_a_run_goes_on_with_equal_settings_alone():
    check()
    check(may_prolong=True, done=6)
    with pytest.raises(ValueError, match=r"FOLDER holds a run with other settings \(lr=0.001\); use them, or another"):
        check(lr=1e-2)
    with pytest.raises(ValueError, match=r"other settings \(train=32 pictures a1\)"):
        check(train="33 pictures b2", may_prolong=True)
    with pytest.raises(ValueError, match=r"other settings \(new=None\)"):
        check(new=1)


def test_a_run_is_prolonged_on_request_alone():
    longer = {"epochs": 9, "warmup_share": 0.03}
    with pytest.raises(
        ValueError, match="FOLDER holds a run of 6 epochs; add --prolong to go on to 9, or choose anoth"
    ):
        check(**longer)
    check(may_prolong=True, done=6, **longer)
    with pytest.raises(ValueError, match=r"other settings \(lr=0.001, epochs=6\)"):
        check(may_prolong=True, epochs=9, lr=1e-2)
    with pytest.raises(ValueError, match=r"other settings \(epochs=6\)"):
        check(may_prolong=True, epochs=4)
    with pytest.raises(ValueError, match=r"other settings \(warmup_share=0.05\)"):
        check(may_prolong=True, warmup_share=0.1)


def log(tmp_path, *lines):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines))
    return path


def test_a_damaged_log_loses_its_damaged_lines_alone(tmp_path):
    good = ['{"step": 0, "loss": 1.5, "lr": 0.1}', '{"epoch": 0, "top1": 50.0}', '{"step": 4, "loss": 1.25, "lr": 0.1}']
    path = log(
        tmp_path, good[0], "garbage}", good[1], b"\xff\xfe\x00}\n", "[1]", '"text"', '{"step": "x"}', "[" * 100_000,
        good[2], '{"step": 8, "loss": 1.0}', '{"epoch": 1, "top1": 60.0}', b'{"step": 5, "lo',
    )  # fmt: skip
    states.trim_log(tmp_path, 1, 8)
    assert path.read_text().splitlines() == good and os.listdir(tmp_path) == ["log.jsonl"]
    states.append(tmp_path, {"step": 8})
    assert json.loads(path.read_text().splitlines()[-1]) == {"step": 8}
    states.trim_log(tmp_path, 0, 0)
    assert path.read_text() == ""


def test_no_log_is_no_fault(tmp_path):
    states.trim_log(tmp_path, 1, 8)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_files_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "below", "Not a directory")):
        message = rf"{folder} takes no files \({reason}\); choose another folder with --output-dir"
        with pytest.raises(ValueError, match=message), states.claimed(folder):
            raise AssertionError("not reached")
    with pytest.raises(ValueError, match="/proc/here takes no files"), states.claimed(states.Path("/proc/here")):
        raise AssertionError("not reached")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"takes no files \(Permission denied\)"), states.claimed(tmp_path / "new"):
        raise AssertionError("not reached")


def test_a_folder_in_place_of_the_log_is_named(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"takes no files \(log.jsonl in it is a folder\)"), states.claimed(tmp_path):
        raise AssertionError("not reached")


def test_a_failure_leaves_no_new_empty_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), states.claimed(tmp_path / "runs" / "new"):
        assert (tmp_path / "runs" / "new").is_dir()
        (tmp_path / "runs" / "new" / "log.jsonl").write_text('{"step": 0}')
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_what_was_there_or_is_of_use(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    with pytest.raises(RuntimeError), states.claimed(there):
        raise RuntimeError
    assert there.is_dir()
    with pytest.raises(RuntimeError), states.claimed(tmp_path / "runs" / "new"):
        states.write_state(tmp_path / "runs" / "new", STATE)
        states.append(tmp_path / "runs" / "new", {"epoch": 0})
        raise RuntimeError
    assert sorted(os.listdir(tmp_path / "runs" / "new")) == ["last.pt", "log.jsonl"]


@pytest.fixture
def full_disk():
    """A limit on the size of files: writing beyond it fails in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield os.strerror(errno.EFBIG)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_state_and_no_half_of_the_new_one(tmp_path, full_disk):
    states.write_state(tmp_path, STATE)
    old = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(RuntimeError, match=r"last\.pt cannot be written \(.*\); make room, then the same command resu"):
        states.write_state(tmp_path, {**STATE, "model": {"w": torch.ones(100_000)}})
    assert os.listdir(tmp_path) == ["last.pt"] and (tmp_path / "last.pt").read_bytes() == old


def test_a_full_disk_is_noticed_at_the_first_file(tmp_path, full_disk, monkeypatch):
    monkeypatch.setattr(states, "_PROBE_BYTES", 200_000)
    message = re.escape(f"takes no files ({full_disk})")
    with pytest.raises(ValueError, match=message), states.claimed(tmp_path / "runs" / "new"):
        raise AssertionError("not reached")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_stops_the_log(tmp_path, full_disk):
    with pytest.raises(RuntimeError, match=rf"log\.jsonl cannot be written \({full_disk}\)"):
        states.append(tmp_path, {"text": "x" * 200_000})
