"""Names that mean one thing, folders that a reader can hold, imports in one direction."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from tests import style

#: Modules of a folder; `cli` has one file a verb.
FOLDER: Final = 15
#: Modules without a test at the mirrored path, and where what they say is tested.
UNMIRRORED: Final = {
    "__main__.py": "one call of the command line; the tests of docs start it",
    "client/forms/scans.py": "records; the server's tests and the client's",
    "client/forms/search.py": "records; the server's tests and the client's",
    "client/forms/service.py": "records; the server's tests and the client's",
    "ct/stored.py": "a record of what a reader found; readers' tests",
    "ct/volume.py": "records; ct/test_read.py and ct/test_inspection.py",
    "files/refusal.py": "one call's type; files/test_json_file.py",
    "inference/detection.py": "`Model.detect_batch`; inference/test_model.py and inference/test_calibration.py",
    "inference/llm/generator.py": "a protocol; chat's tests",
    "models/ctchat/spec.py": "one entry of the registry; models/test_families.py takes each",
    "models/ctclip/spec.py": "one entry of the registry; models/test_families.py takes each",
    "models/encoder.py": "protocols; models/test_families.py proves them with a family of its own",
    "models/hub/catalogue.py": "a list; cli/test_fetch.py",
    "models/medfinder/spec.py": "one entry of the registry; models/test_families.py takes each",
    "models/model_spec.py": "a record; models/test_families.py",
    "models/regions/spec.py": "one entry of the registry; models/test_families.py takes each",
    "serving/jobs/crew.py": "records; serving/jobs/test_board.py",
    "serving/routes/paths.py": "what routes have in common; serving/routes",
    "serving/work/results.py": "records; serving/work",
}


def test_public_classes_have_names_of_their_own() -> None:
    repeated = style.repeated_classes()
    assert not repeated


def test_folders_are_small() -> None:
    sizes = Counter(path.parent.as_posix() for path in style.modules())
    larger = {folder: size for folder, size in sizes.items() if folder != "cli" and size > FOLDER}
    assert not larger


def test_what_shares_a_prefix_has_a_folder() -> None:
    prefixes: dict[str, list[str]] = defaultdict(list)
    for path in style.modules():
        prefixes[(path.parent / path.stem.split("_")[0]).as_posix()].append(path.name)
    shared = {prefix: names for prefix, names in prefixes.items() if len(names) > 2}
    assert not shared


def test_modules_have_tests_at_the_mirrored_path() -> None:
    tests = style.ROOT / "tests"
    missing = {path.as_posix() for path in style.modules() if not (tests / path.parent / f"test_{path.name}").exists()}
    assert missing == set(UNMIRRORED)
    assert len(UNMIRRORED) <= 20


def test_no_modules_import_each_other() -> None:
    assert not style.circles()


def test_no_module_imports_the_face_of_the_package() -> None:
    assert not [name for name, targets in style.imports().items() if "thoracle" in targets]
