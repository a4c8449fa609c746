"""`thoracle index delete`: who leaves, by which name, that nothing of them is left, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thoracle.inference.patient_caches import scan_origin
from thoracle.inference.text.prompt_cache import cached_prompt_latents
from thoracle.search.open_index import open_index, open_index_for_writing, open_reports


@pytest.fixture(autouse=True)
def _no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own key is not at hand."""
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "default.key"))


def _reports(index: Path) -> list[str]:
    with open_index(str(index)) as opened:
        return sorted(record.report.findings.rpartition(" is present. ")[2] for record in opened.records(opened.ids()).values())


def test_a_patient_is_deleted_by_real_name_with_all_volumes(command, index: Path, tmp_path: Path) -> None:
    ran = command("index", "delete", index, "--patient", "PAT0", "--site-key", tmp_path / "site.key")
    assert (ran.status, f"2 volumes deleted, 7 left: {index}" in ran.out) == (0, True), ran.err
    assert command("index", "check", index).status == 0
    assert _reports(index) == [f"Number {number}." for number in range(1, 8)]


def test_no_file_keeps_a_word_of_a_deleted_patient(command, index: Path) -> None:
    def content() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(index.rglob("*")) if path.is_file())

    with open_index(str(index)) as opened:
        (number,) = [number for number, record in opened.records(opened.ids()).items() if "Number 3." in record.report.findings]
        (record,), latent, thumbnail = opened.records([number]).values(), opened.latents([number])[0], opened.thumbnails([number])[number]
    with open_reports(str(index)) as reports:
        report_latent = reports.latents(reports.ids_where(patient=record.patient))[0]
    traces = [
        record.patient.encode(),
        record.accession.encode(),
        b"Number 3.",
        latent.tobytes(),
        thumbnail[100:200],
        report_latent.tobytes(),
    ]
    assert [trace in content() for trace in traces] == [True] * len(traces)
    assert command("index", "delete", index, "--patient", record.patient).status == 0
    assert [trace in content() for trace in traces] == [False] * len(traces)


def test_a_deletion_that_was_stopped_between_reports_and_volumes_is_finished(command, index: Path) -> None:
    """Either may have gone first: the patient is still known by the other."""
    with open_index(str(index)) as opened:
        patients = [record.patient for record in opened.records(opened.ids()).values() if "Number 3." in record.report.findings]
        others = [record.patient for record in opened.records(opened.ids()).values() if "Number 5." in record.report.findings]
    with open_reports(str(index), write=True) as reports:
        reports.delete(reports.ids_where(patient=patients[0]))
    ran = command("index", "delete", index, "--patient", patients[0])
    assert (ran.status, "0 reports and 1 volumes deleted, 8 left" in ran.out) == (0, True), ran.err
    with open_index_for_writing(str(index)) as opened:
        opened.delete(opened.ids_where(patient=others[0]))
    ran = command("index", "delete", index, "--patient", others[0])
    assert (ran.status, "1 reports and 0 volumes deleted, 7 left" in ran.out) == (0, True), ran.err
    with open_reports(str(index)) as reports:
        assert len(reports) == 6
    ran = command("index", "delete", index, "--patient", others[0])
    assert ran.status == 2, ran.err


def test_what_chat_and_prompts_keep_of_the_same_voxels_and_words_goes_too_and_is_listed(
    command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    with open_index(str(index)) as opened:
        records = opened.records(opened.ids()).values()
        (theirs,) = [record for record in records if "Number 3." in record.report.findings]
        (other,) = [record for record in records if "Number 5." in record.report.findings]
    folder = tmp_path / "cache" / "codes-0123456789abcdef"
    folder.mkdir(parents=True)
    names = {}
    for record in (theirs, other):
        origin = scan_origin(source_sha256=record.source_sha256, voxels_sha256="e" * 64)
        names[record.volume] = folder / f"{origin}-{'a' * 40}.safetensors"
        names[record.volume].touch()
    kept = [
        cached_prompt_latents(tmp_path / "cache", key=key, shape=(2, 2), texts=[text], compute=lambda: torch.eye(2))
        for key, text in (("theirs", theirs.report.findings), ("other", "Emphysema"))
    ]
    assert len(kept) == 2
    ran = command("index", "delete", index, "--scan", theirs.scan)
    assert ran.status == 0, ran.err
    assert f"removed from the cache of tokens for chat: {names[theirs.volume]}" in ran.out
    assert ran.out.count("removed from the cache") == 2
    assert "removed from the cache of prompts" in ran.out
    assert "1 volumes deleted" in ran.out
    left = sorted(path.name for path in tmp_path.rglob("*.safetensors"))
    assert left == sorted([names[other.volume].name, "prompt-latents-other.safetensors"])


def test_a_scan_is_deleted_by_pseudonym_or_accession_and_only_once(command, index: Path, tmp_path: Path) -> None:
    with open_index(str(index)) as opened:
        records = opened.records(opened.ids()).values()
        pseudonym = next(record.scan for record in records if "Number 5." in record.report.findings)
    ran = command("index", "delete", index, "--scan", pseudonym)
    assert (ran.status, "1 volumes deleted, 8 left" in ran.out) == (0, True), ran.err
    asked = ("index", "delete", index, "--scan", "ACC6", "--site-key", tmp_path / "site.key")
    assert "1 volumes deleted, 7 left" in command(*asked).out
    again = command(*asked)
    assert (again.status, "no scan 'ACC6' in the index. Check the name." in again.err) == (2, True), again.err
    assert _reports(index) == [f"Number {number}." for number in (0, 0, 1, 2, 3, 4, 7)]


def test_what_is_not_there_or_not_one_thing_ends_with_2(command, index: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ((), "expected a patient or a scan. Give one of --patient and --scan."),
        (("--patient", "PAT0", "--scan", "ACC0"), "expected a patient or a scan."),
        (
            ("--patient", "PAT0"),
            "no patient 'PAT0' in the index. Its names are pseudonyms; for real ones give the site's key",
        ),
        (("--patient", "PAT9", "--site-key", tmp_path / "site.key"), "no patient 'PAT9' in the index. Check the name."),
        (("--patient", "PAT0", "--site-key", tmp_path / "none.key"), "none.key: no such file"),
    ):
        ran = command("index", "delete", index, *arguments)
        assert (ran.status, words in ran.err) == (2, True), ran.err
    assert len(_reports(index)) == 9


def test_where_there_is_no_index_none_is_made(command, tmp_path: Path) -> None:
    ran = command("index", "delete", tmp_path / "nowhere", "--patient", "PAT0")
    assert (ran.status, "nowhere: holds no index" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "nowhere").exists()
