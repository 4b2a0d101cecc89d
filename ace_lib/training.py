"""What SFT and RL runs share: metric files that survive a restart, and writing a model whole."""

import json
import shutil
from pathlib import Path


def append_rows(path: Path, rows: list[dict]) -> None:
    """Append rows to a JSONL file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def forget_after(path: Path, step: int) -> None:
    """Cut a JSONL file back to its rows up to `step`, from where training goes on."""
    if path.exists():
        # The last line is torn when the run was killed while writing it.
        lines = [line for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))


def read_metrics(folder: Path | str) -> list[dict]:
    """Rows of a training run's `metrics.jsonl`."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def last_checkpoint(folder: Path) -> tuple[str | None, int]:
    """Path and step of the last complete checkpoint in `folder`; (None, 0) without one."""
    from transformers.trainer_utils import get_last_checkpoint

    # trainer_state.json is written last: a checkpoint without it was cut off.
    for torn in folder.glob("checkpoint-*"):
        if not (torn / "trainer_state.json").exists():
            shutil.rmtree(torn)
    last = get_last_checkpoint(folder) if folder.is_dir() else None
    return (last, int(last.rpartition("-")[2])) if last else (None, 0)


def save_model(model: object, tokenizer: object, folder: Path) -> None:
    """Write model and tokenizer, whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
