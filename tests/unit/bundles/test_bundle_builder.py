"""The bundle as a whole: deterministic, complete, checksummed, and in place whole or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.bundles.builder import build_bundle
from app.bundles.contents import BundleSource
from app.bundles.key_guard import SecretInBundleError
from app.errors import StorageError
from tests.unit.bundles.sources import INLINE, KERNEL, PUBLIC_KEY, WIREGUARD_GO, block, result, source, trial
from tuner.candidate import Candidate


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(params=[INLINE, WIREGUARD_GO, KERNEL], ids=["wirelane", "wireguard-go", "kernel"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    build_bundle(source(request.param), tmp_path / "out.tar.gz")
    return unpack(tmp_path / "out.tar.gz", tmp_path / "unpacked")


def test_in_tree_wireguard_gets_its_pinned_threads_from_wg_quick(tmp_path: Path) -> None:
    build_bundle(source(KERNEL), tmp_path / "out.tar.gz")
    top = unpack(tmp_path / "out.tar.gz", tmp_path / "unpacked")
    plan = json.loads((top / "vars.json").read_text())["gateways"]
    assert plan["a"]["units"]["engine"] == plan["a"]["units"]["stock"]
    pinned = {side: [_napi_cpu(path) for path in sorted((top / side / "wg-quick").glob("*.conf"))] for side in "ab"}
    assert pinned == {"a": ["0", "1", "0"], "b": ["2", "2", "2"]}


def _napi_cpu(config: Path) -> str:
    lines = config.read_text().splitlines()
    assert "PostUp = echo 1 > /sys/class/net/%i/threaded" in lines
    (pin,) = (line for line in lines if "taskset" in line)
    return pin.split()[-1]


def test_two_builds_are_byte_identical(tmp_path: Path) -> None:
    first = build_bundle(source(), tmp_path / "one.tar.gz")
    second = build_bundle(source(), tmp_path / "two.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    assert first.sha256 == second.sha256
    other = build_bundle(source(Candidate(lanes=3)), tmp_path / "three.tar.gz")
    assert other.sha256 != first.sha256


def test_building_again_after_the_study_completed_gives_the_same_bytes(tmp_path: Path) -> None:
    during = build_bundle(source(), tmp_path / "during.tar.gz")
    after = build_bundle(source(state="completed", finished_at="2026-11-20T10:00:00Z"), tmp_path / "after.tar.gz")
    assert during.sha256 == after.sha256


def test_every_member_is_plain_owned_by_root_and_dated_by_the_study(tmp_path: Path) -> None:
    build_bundle(source(), tmp_path / "out.tar.gz")
    expected_s = int(source().measured_until.timestamp())
    with tarfile.open(tmp_path / "out.tar.gz") as tar:
        members = tar.getmembers()
    assert [member.name for member in members if member.isfile()] == sorted(m.name for m in members if m.isfile())
    for member in members:
        assert (member.uid, member.gid, member.mtime) == (0, 0, expected_s), member.name
        assert member.isfile() or member.isdir()
        assert member.mode == (0o755 if member.isdir() or member.name.endswith(".sh") else 0o644)


def test_sha256sum_checks_every_file(bundle: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=True
    )
    names = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == names
    (bundle / "a" / "lane-routes.sh").write_text("echo changed\n")
    damaged = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=bundle, capture_output=True, check=False)
    assert damaged.returncode != 0


def test_the_word_for_a_secret_key_does_not_occur(bundle: Path) -> None:
    found = subprocess.run(["grep", "-ril", "privatekey", str(bundle)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")


def test_manifest_and_evidence_say_what_was_measured(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["candidate"]["key"] in bundle.name
    assert manifest["simulated"] is False
    assert manifest["verdict"]["gain_low"] > 1
    assert manifest["gateways"]["a"]["fingerprint"]["cpu"]["model"] == "Imagined CPU"
    assert manifest["versions"] == {"wiretune": "0.1.0", "python": "3.11.2"}
    assert "CPU `Imagined CPU`, kernel `6.1.0`" in (bundle / "README.md").read_text()
    samples = json.loads((bundle / "evidence" / "samples.json").read_text())
    assert len(samples) == 10
    confirm = json.loads((bundle / "evidence" / "confirm.json").read_text())
    assert {(block["trial"], block["index"]) for block in confirm} == {(t, i) for t in (None, 0) for i in range(4)}
    commands = json.loads((bundle / "evidence" / "commands.json").read_text())
    assert {"tool_version": "iperf 3.12", "argv": ["iperf3", "--client", "198.19.2.1", "--json"]} in commands
    assert json.loads((bundle / "evidence" / "result.json").read_text())["study"] in bundle.name


@pytest.mark.parametrize(("mark", "driver"), [("simulated", "sim"), ("emulated", "vm")])
def test_a_result_that_is_no_speed_says_so_first(tmp_path: Path, mark: str, driver: str) -> None:
    build_bundle(source(driver=driver, **{mark: True}), tmp_path / "out.tar.gz")
    top = unpack(tmp_path / "out.tar.gz", tmp_path / "unpacked")
    assert mark.upper() in "".join((top / "README.md").read_text().splitlines(keepends=True)[:4])
    assert json.loads((top / "manifest.json").read_text())[mark] is True
    measured = build_bundle(source(), tmp_path / "measured.tar.gz")
    shutil.rmtree(tmp_path / "unpacked")
    assert measured.name == top.name
    assert mark.upper() not in (unpack(tmp_path / "measured.tar.gz", tmp_path / "unpacked") / "README.md").read_text()


def test_a_study_without_a_verdict_has_no_bundle() -> None:
    with pytest.raises(ValidationError, match="no verdict"):
        BundleSource(result=result(verdict=None))


def test_keys_of_a_testbed_that_was_healed_mid_way_may_stay_but_nothing_else(tmp_path: Path) -> None:
    older = "AAAA" + PUBLIC_KEY[4:]
    for field, fine in (("public_key", True), ("endpoint", False)):
        blocks = [block("verdict", 0, 6.0, read_back={"a": {"lanes": [{field: older}]}})]
        healed = source(trials=[trial(0, INLINE, blocks)])
        if fine:
            assert build_bundle(healed, tmp_path / "out.tar.gz").size_bytes > 0
        else:
            with pytest.raises(SecretInBundleError):
                build_bundle(healed, tmp_path / "refused.tar.gz")
            assert not (tmp_path / "refused.tar.gz").exists()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        build_bundle(source(), tmp_path / "file" / "out.tar.gz")


@pytest.mark.root
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=True)
    try:
        (small / "out.tar.gz").write_bytes(b"an older bundle")
        with pytest.raises(StorageError, match=r"The disk is full: .*out\.tar\.gz needs [0-9]+ bytes") as caught:
            build_bundle(source(Candidate(lanes=64)), small / "out.tar.gz")
        assert caught.value.status == 507
        assert "Free some space" in (caught.value.hint or "")
        assert [path.name for path in small.iterdir()] == ["out.tar.gz"]
        assert (small / "out.tar.gz").read_bytes() == b"an older bundle"
    finally:
        subprocess.run(["umount", str(small)], check=True)
