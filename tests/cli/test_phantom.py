from __future__ import annotations

from thoracle.phantom.cohort import write_cohort


def test_makes_a_cohort_and_says_what(command, tmp_path):
    out, wanted = tmp_path / "cohort", ("--num-scans", 3, "--seed", 2, "--workers", 1)
    done = command("phantom", "--out", out, *wanted)
    assert (done.status, done.out.startswith("3 scans of")) == (0, True), done.err
    write_cohort(tmp_path / "library", cases=3, seed=2, workers=1)
    assert {p.relative_to(out) for p in out.rglob("*")} == {p.relative_to(tmp_path / "library") for p in (tmp_path / "library").rglob("*")}
    assert "3 were already there" in command("phantom", "--out", out, *wanted).out


def test_aligned_phantoms_are_made_on_request(command, tmp_path):
    done = command("phantom", "--out", tmp_path / "cohort", "--num-scans", 1, "--aligned", "--workers", 1)
    assert done.status == 0, done.err
    write_cohort(tmp_path / "library", cases=1, aligned=True, workers=1)
    volume = "train/train_1/train_1_a/train_1_a_1.nii.gz"
    assert (tmp_path / "cohort" / volume).read_bytes() == (tmp_path / "library" / volume).read_bytes()


def test_a_wrong_argument_ends_in_2_and_a_foreign_folder_in_1(command, tmp_path):
    assert command("phantom", "--out", tmp_path / "new", "--preset", "huge").status == 2
    (tmp_path / "mine").write_text("mine")
    done = command("phantom", "--out", tmp_path, "--num-scans", 1)
    assert done.status == 1
    assert "OutputConflict" in done.err


def test_stopping_leaves_no_half_written_volume(command, tmp_path, monkeypatch):
    from thoracle.phantom import cohort

    written = []

    def interrupted(path, content, write=cohort.write_atomic):
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(cohort, "write_atomic", interrupted)
        assert command("phantom", "--out", tmp_path / "cohort", "--num-scans", 4, "--workers", 1).status == 130
    assert not list((tmp_path / "cohort").rglob("*.tmp"))
    assert command("phantom", "--out", tmp_path / "cohort", "--num-scans", 4, "--workers", 1).status == 0
