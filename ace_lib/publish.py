"""Curated sets as a data set of the Hugging Face hub: saved to a folder, uploaded as it stands.

`datasets.load_dataset(folder, name)` reads the folder as it reads the hub.
"""

from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCard, HfApi

from ace_lib.problems import to_columns


def save_dataset(folder: str | Path, sets: Mapping[str, list[dict]], card: str) -> Path:
    """Write each set of problem rows as a configuration of its own, and the card as README.md.

    `tests` are JSON text in the Parquet files, see `problems.to_columns`. Raises ValueError when
    the card's front matter is no YAML mapping.
    """
    folder = Path(folder)
    for name, rows in sets.items():
        path = folder / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(to_columns(rows)).to_parquet(path)
    readme = DatasetCard(card)
    readme.data.configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"data/{name}.parquet"}]}
        for name in sets
    ]
    readme.save(folder / "README.md")
    return folder


def push_dataset(folder: str | Path, repository: str) -> str:
    """Upload a folder of `save_dataset` as `owner/name`, private if new; return the commit's URL.

    The token is the one that `hf auth login` stored or `HF_TOKEN`. Raises what the hub's client
    raises: no token, no permission, no network.
    """
    hub = HfApi()
    hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
    return hub.upload_folder(
        repo_id=repository, folder_path=folder, repo_type="dataset", delete_patterns="data/*"
    ).commit_url
