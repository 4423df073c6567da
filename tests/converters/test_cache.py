"""Where things are kept that are fetched or built once."""

from pathlib import Path

from converters.cache import cache_folder


def test_the_setting_counts_then_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.setenv("EDGE_VIT_CACHE", "")  # as good as none
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edge_vit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "edge_vit"


def test_a_given_folder_counts_before_the_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path))
    assert cache_folder(Path("/given")) == Path("/given")


def test_the_folder_is_absolute_and_a_tilde_is_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder(Path("near")) == tmp_path / "near"
    for value, expected in (("near", tmp_path / "near"), ("~/far", tmp_path / "home" / "far")):
        monkeypatch.setenv("EDGE_VIT_CACHE", value)
        assert cache_folder() == expected
