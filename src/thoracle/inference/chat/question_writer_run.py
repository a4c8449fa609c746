"""Questions of many reports, a few at a time; each report's are kept as they come, so that a run that was stopped asks for none twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Final

from thoracle.cohort.vqa.vqa_file import QuestionAnswer
from thoracle.files.append_log import append_lines, recover_lines
from thoracle.inference.batch.result_table import lock_table
from thoracle.inference.chat.question_writer import SYSTEM, WrittenQuestions, write_questions
from thoracle.inference.llm.generator import TextGenerator

_AT_ONCE: Final = 4


def write_all_questions(
    generate: TextGenerator, reports: Mapping[str, str], *, llm: str, journal: Path
) -> Iterator[tuple[str, WrittenQuestions]]:
    """Write questions for each volume, in order.

    Args:
        generate: the language model.
        reports: by volume.
        llm: its name.
        journal: a file of lines, one a report, made where it is not there; a line of another report, prompt or model is not gone by.

    Raises:
        OutputConflict: another run writes the journal.
        ThoracleError: as `generate`; what was written before is kept.
    """
    keys = {volume: sha256(f"{SYSTEM}\0{llm}\0{volume}\0{report}".encode()).hexdigest() for volume, report in reports.items()}
    journal.parent.mkdir(parents=True, exist_ok=True)
    with lock_table(journal), ThreadPoolExecutor(_AT_ONCE) as pool:
        cached = _read(journal)
        todo = {volume: pool.submit(write_questions, generate, report) for volume, report in reports.items() if keys[volume] not in cached}
        try:
            for volume, key in keys.items():
                if volume in todo:
                    written = todo.pop(volume).result()
                    append_lines(journal, [json.dumps({"key": key, **asdict(written)})], private=True)
                    cached[key] = written
                yield volume, cached[key]
        finally:
            pool.shutdown(cancel_futures=True)


def _read(path: Path) -> dict[str, WrittenQuestions]:
    """Read what earlier runs wrote, by key."""
    pending = {}
    for line in recover_lines(path):
        values = json.loads(line)
        pairs = tuple(QuestionAnswer(**pair) for pair in values["pairs"])
        pending[values["key"]] = WrittenQuestions(pairs=pairs, dropped=values["dropped"], why=values["why"])
    return pending
