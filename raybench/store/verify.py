"""Is everything in a run directory what was once written? Reads every row again; changes nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from raybench.core.errors import RunError
from raybench.core.fingerprint import canonical_json
from raybench.store import events, manifest
from raybench.store.files import is_temp, sha256_of
from raybench.store.json_files import read_json
from raybench.store.parquet_files import DamagedFile
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.store.scores import read_scores
from raybench.store.segments import segments
from raybench.store.shard_files import SUFFIX
from raybench.store.shard_mark import keys_digest
from raybench.store.shard_reader import DamagedShard, ShardInfo, ShardReader
from raybench.store.telemetry import read_segment

_DOCUMENTS = ("state.json", "results.json", "efficiency.json", "recheck.json")
_SET_FILES = {"samples.arrow", "requests.arrow", "shots.arrow", "meta.json"}


def verify(run: RunDir) -> list[str]:
    """Problems of a run directory, one sentence each; empty when everything is whole. Unfinished `.tmp-` files are no problem."""
    run.bring()
    found = _problems(RunDir(run.path))  # everything is in the folder now
    return [text.replace(str(run.path), run.name) for text in found]


def _problems(run: RunDir) -> list[str]:
    return [
        *_documents(run),
        *_predictions(run),
        *_prompts(run),
        *_telemetry(run),
        *_events(run),
        *_scores(run),
        *(f"{path}: a foreign file: raybench did not write it." for path in foreign_files(run)),
    ]


def content_sha256(run: RunDir) -> str:
    """One digest of all answers of a run: equal for runs with equal content, whatever the order, the machines, the restarts.

    Over (task, model, fingerprint, digest of the rows), sorted; from footers, so `verify` tells whether the rows still fit.
    """
    run.bring("predictions")
    rows = sorted(
        [task, model, fingerprint, info.mark.content_digest]
        for task, model in run.pairs()
        for fingerprint, info in run.shard_files(task, model).scan().shards.items()
    )
    return hashlib.sha256(canonical_json(rows).encode()).hexdigest()


def foreign_files(run: RunDir) -> list[Path]:
    """Files in the run directory that do not belong to its layout; what was set aside in `damaged/` does."""
    return sorted(path for path in run.path.rglob("*") if path.is_file() and not _is_ours(path.relative_to(run.path)))


_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_LAYOUT = re.compile(
    r"(manifest|state|results|efficiency|recheck)\.json|lock|report/.*|damaged/.*|events/\d{6,}\.jsonl|telemetry/\d{6,}\.parquet"
    rf"|(predictions|scores)/{_NAME}/{_NAME}\.parquet|predictions/{_NAME}/{_NAME}/{_NAME}\.parquet"
    rf"|prompts/{_NAME}/((samples|requests|shots)\.arrow|meta\.json)"
)


def _is_ours(path: Path) -> bool:
    return any(is_temp(part) for part in path.parts) or _LAYOUT.fullmatch(path.as_posix()) is not None


def _documents(run: RunDir) -> Iterator[str]:
    try:
        manifest.read_manifest(run.path)
    except RunError as error:
        yield error.message
    for name in _DOCUMENTS:
        if (path := run.path / name).exists():
            try:
                read_json(path)
            except RunError as error:
                yield error.message


def _predictions(run: RunDir) -> Iterator[str]:
    committed, compactions = _committed_sha256(run), _compacted_sha256(run)
    for task, model in run.pairs():
        files = run.shard_files(task, model)
        singles, compacted = files.scan_singles(), files.scan_compacted()
        yield from (f"{found.path}: {found.reason}." for found in singles.damaged + compacted.damaged)
        with ShardReader() as reader:
            for info in [*compacted.shards.values(), *singles.shards.values()]:
                yield from _shard(reader, info, committed.get((task, model, info.mark.fingerprint)))
        written = compactions.get((task, model))
        if compacted.shards and written is not None and sha256_of(files.compacted) != written:
            yield f"{files.compacted}: not the file that the event log says was compacted (sha256 differs)."
        for fingerprint in sorted(singles.shards.keys() & compacted.shards.keys()):
            yield f"{files.path(fingerprint)}: left over from a compaction that was killed; {files.compacted.name} holds the shard as well."


def _shard(reader: ShardReader, info: ShardInfo, sha256: str | None) -> Iterator[str]:
    try:
        batch = reader.read(info)
    except DamagedShard as error:
        yield error.message
        return
    except FileNotFoundError:
        yield f"{info.path}: it disappeared while it was being checked."
        return
    if keys_digest(*(batch.column(name) for name in ("sample_id", "request", "repeat"))) != info.mark.ids_digest:
        yield f"{info.path}: shard {info.mark.fingerprint}: its keys are not those of its mark."
    if sha256 is not None and not info.is_compacted and sha256_of(info.path) != sha256:
        yield f"{info.path}: not the file that the event log says was committed (sha256 differs)."


def _committed_sha256(run: RunDir) -> dict[tuple[str, str, str], str]:
    """(task, model, fingerprint) to sha256 from the `commit` events that carry these four fields; the last commit counts."""
    names = ("task", "model", "fingerprint", "sha256")
    commits = (event for event in events.read_events(run.path / "events") if event["event"] == "commit")
    return {(e["task"], e["model"], e["fingerprint"]): e["sha256"] for e in commits if all(isinstance(e.get(n), str) for n in names)}


def _compacted_sha256(run: RunDir) -> dict[tuple[str, str], str]:
    """(task, model) to sha256 from the `compacted` events; the last one counts."""
    found = (event for event in events.read_events(run.path / "events") if event["event"] == "compacted")
    names = ("task", "model", "sha256")
    return {(e["task"], e["model"]): e["sha256"] for e in found if all(isinstance(e.get(n), str) for n in names)}


def _prompts(run: RunDir) -> Iterator[str]:
    folder = run.path / "prompts"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if is_temp(path):
            continue
        try:
            prompts = PromptSet.open(path)
            prompts.shots()
            for shard in range(len(prompts.shards)):
                prompts.samples(shard)
                prompts.requests(shard)
        except RunError as error:
            yield error.message


def _telemetry(run: RunDir) -> Iterator[str]:
    for path in segments(run.path / "telemetry", SUFFIX):
        try:
            read_segment(path)
        except DamagedFile as error:
            yield f"{path}: {error}."


def _events(run: RunDir) -> Iterator[str]:
    for line in events.read_lines(run.path / "events"):
        if line.event is None:
            what = "cut off: the writer was killed" if line.is_torn else "no event"
            yield f"{line.path}:{line.number}: the line is {what}."


def _scores(run: RunDir) -> Iterator[str]:
    for path in sorted((run.path / "scores").glob(f"*/*{SUFFIX}")):
        if not is_temp(path):
            try:
                read_scores(path)
            except RunError as error:
                yield error.message
