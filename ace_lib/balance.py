"""Difficulty and length balance of curated sets.

Response length stands for difficulty: the papers drop or thin prompts that the teacher answers in
few tokens (P1 section 3.1, P2 section 3.1) and keep a similar length distribution in all seven SFT
sets. They print the bands, not the rates; the rates are parameters of ours.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def count_tokens(texts: Sequence[str], model_folder: Path) -> list[int]:
    """Count tokens of `texts` with the tokenizer of a Hugging Face model folder."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model_folder) / "tokenizer.json"))
    return [len(item.ids) for item in tokenizer.encode_batch(texts, add_special_tokens=False)]


def draw(identifier: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on nothing but `seed` and `identifier`.

    A row is then kept or dropped alike whatever its batch, its place or the rows beside it.
    """
    return random.Random(f"{seed}/{identifier}").random()


def thin_short(
    lengths: Sequence[float],
    identifiers: Sequence[str],
    drop_below: float,
    thin_below: float,
    keep_rate: float,
    seed: int,
) -> list[bool]:
    """Decide which prompts to keep by the length of the teacher's responses, in tokens.

    Below `drop_below` none is kept, from there to below `thin_below` the share `keep_rate`, above
    all. P1 section 3.1: 2,000 and 4,000 tokens. Raises ValueError when the bands are reversed.
    """
    if drop_below > thin_below:
        raise ValueError(f"drop_below {drop_below} is above thin_below {thin_below}")
    return [
        length >= thin_below or (length >= drop_below and draw(identifier, seed) < keep_rate)
        for length, identifier in zip(lengths, identifiers, strict=True)
    ]


def length_bands(lengths: Sequence[float], num_bands: int) -> list[int]:
    """Number the band of each length; bands are quantiles, so that they hold equally many."""
    if not lengths:
        return []
    edges = np.quantile(lengths, np.linspace(0, 1, num_bands + 1)[1:-1])
    return np.searchsorted(edges, lengths, side="right").tolist()


def nested_order(strata: Sequence[object], seed: int) -> list[int]:
    """Order rows so that every prefix mixes the strata in the same proportions.

    Each stratum is shuffled and spread evenly over the whole order; a smaller set is a prefix of a
    larger one, and both have the same make-up up to one row per stratum.
    """
    rng = random.Random(seed)
    members: dict[object, list[int]] = {}
    for index, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(index)
    places = []
    for indices in members.values():
        rng.shuffle(indices)
        offset = rng.random()
        places += [((rank + offset) / len(indices), index) for rank, index in enumerate(indices)]
    return [index for _, index in sorted(places)]
