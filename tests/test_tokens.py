"""The fast tokeniser against the rules of `ace_lib.text`, on arbitrary and on awkward text."""

import random

import numpy as np
import pytest

from ace_lib import ngram_index, text, tokens

AWKWARD = [
    "",
    "\0",
    "a\0b",
    r"$\dfrac{1}{2}$ \(\frac12\) \tfrac{a}{b}",
    r"x\leq y, x \le y, x <= y, x≤y, x⩽y",
    "a!=b!==c<==d>=e",
    r"\left(\frac{x}{y}\right)\cdot 3 \times 4 × 5 · 6",
    r"\text{area} \! \quad \textbf{bold}\\ next",
    "Ünïcode ÉCOLE naïve cafe\u0301 straße",
    "计算 1+1 的值。ひらがな 한국어",
    "ﬁne ½ x² −3 – 4 — ‘quoted’",
    "supercalifragilistic" * 8,
    "1234567890" * 20,
    "π r² ≈ 3.14 √2 ∞ 90° ∠ABC △DEF",
    "2൬ ³᪗",
    r"\left\{x\dfrac12\! y\!=z\operatorname*{lcm}!=\leqslant3\text{. }\quad",
    "\u0301a e\u0301",
    "\\",
    "\\\\frac",
    "frac \\fracture",
    "emoji 🙂 𝑥 𝟙",
    "hid\u200bden so\u00adft\ufeff e\u200b\u0301 汉\u2060字 \u200b",
    "don&#39;t &#x4E00;&#0;&#xD800;b &#99999999; &#;",
    r"a &lt; b&nbsp;c &amp;& \&lt &=x & \frac &dfrac1&!",
]
ALPHABET = [
    *"ab1 \\$&(){}=<>!|\n\0é汉½x\u200b",
    "frac",
    "\\dfrac",
    "\\le",
    "text",
    "<=",
    "longerthaneight",
]


def assert_same_tokens(texts: list[str]) -> None:
    scanned = tokens.scan(texts)
    expected = [text.tokenize(one) for one in texts]
    whole = scanned.spell(scanned.starts[:-1], np.diff(scanned.starts))
    assert whole == list(map(" ".join, expected))
    assert np.diff(scanned.starts).tolist() == list(map(len, expected))
    words = sum(expected, [])
    assert scanned.spell(np.arange(len(words)), np.ones(len(words), dtype=int)) == words
    assert len(set(zip(words, scanned.values.tolist(), strict=True))) == len(set(words))
    assert len(set(scanned.values.tolist())) == len(set(words))


def test_awkward_texts_are_scanned_by_the_rules() -> None:
    assert_same_tokens(AWKWARD)
    for one in AWKWARD:
        assert_same_tokens([one])


def test_random_texts_are_scanned_by_the_rules() -> None:
    rng = random.Random(0)
    for _ in range(50):
        assert_same_tokens(
            ["".join(rng.choices(ALPHABET, k=rng.randint(0, 40))) for _ in range(50)]
        )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("$x$", r"\(x\)"),
        (r"\dfrac{1}{2}", r"\frac {1}2"),
        ("A  b\n", "a B"),
        (r"a\leq b", "a ≤ b"),
        (r"a \times b", "a*b"),
        (r"\left( x \right)", "(x)"),
        (r"\text{if } x", "if x"),
        ("x−1", "x-1"),
        ("zero\u200bwidth so\u00adft \ufeffbom\u2060", "zerowidth soft bom"),
        ("Ann&#39;s 3 &#x3C; 4&#0;", "Ann's 3 < 4"),
        ("x &lt; 2&nbsp;and &quot;y&quot; &amp; z", 'x < 2 and "y" & z'),
    ],
)
def test_forms_of_one_statement_are_equal(left: str, right: str) -> None:
    assert text.tokenize(left) == text.tokenize(right)


@pytest.mark.parametrize(("left", "right"), [("a + 5", "a * 5"), ("x = 12", "x = 1 2"), ("<", ">")])
def test_different_statements_stay_different(left: str, right: str) -> None:
    assert text.tokenize(left) != text.tokenize(right)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 14])
def test_ngram_hashes_are_equal_for_equal_ngrams_and_stay_inside_one_text(n: int) -> None:
    rng = random.Random(n)
    texts = [" ".join(rng.choices("ab", k=rng.randint(0, 20))) for _ in range(60)]
    scanned = tokens.scan(texts)
    hashes, places = tokens.ngrams(scanned.values, scanned.starts[:-1], scanned.starts[1:], n)
    by_hand = [
        (start + i, tuple(words[i : i + n]))
        for start, words in zip(scanned.starts.tolist(), map(str.split, texts), strict=False)
        for i in range(max(len(words) - n + 1, min(1, len(words))))
    ]
    assert places.tolist() == [place for place, _ in by_hand]
    grams = [gram for _, gram in by_hand]
    assert len(set(zip(hashes.tolist(), grams, strict=True))) == len(set(grams))
    assert len(set(hashes.tolist())) == len(set(grams))


def test_number_keys_are_equal_for_the_same_numbers_in_any_order() -> None:
    keys = tokens.scan(["2 cats, 13 dogs", "13 and 2", "2 and 2 and 13", "", "x"]).numbers
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == keys[4] == 0


def test_texts_in_batches_are_normalised_one_by_one() -> None:
    many = [*AWKWARD, "x y " * tokens.BATCH_CHARACTERS, *AWKWARD]
    assert tokens.normalise_all(many) == list(map(text.normalise, many))
    assert tokens.normalise_all([]) == []


@pytest.mark.parametrize(
    ("one", "begins"),
    [
        ("Find x. Now y", [1, 0, 1, 0]),
        ("a\nb c", [1, 1, 0]),
        ("a: b? ; c", [1, 1, 1]),
        (r"a. \left b", [1, 1]),
        ('<p>a **b** "c" [d] e, f $g$', [1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0]),
        ("", []),
    ],
)
def test_sentences_begin_after_a_stop_a_line_or_a_mark(one: str, begins: list[int]) -> None:
    scanned = tokens.scan(["x", one])
    places = range(scanned.starts[1], scanned.starts[2])
    kinds = tokens.RULES.kinds
    assert [ngram_index.opens_sentence(scanned, 1, at, kinds) for at in places] == begins


def test_batches_cover_every_text_once() -> None:
    texts = ["x" * tokens.BATCH_CHARACTERS, "", "y", "z" * tokens.BATCH_CHARACTERS, ""]
    assert list(tokens.batches(texts)) == [(0, 1), (1, 4), (4, 5)]
    assert list(tokens.batches([])) == []
