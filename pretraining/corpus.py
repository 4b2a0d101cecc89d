"""Pretraining text of the tiny base model: arithmetic facts, a textbook, programs, exercises.

It plays the part of Qwen2.5-Math's corpus, in three phases: facts and easy textbook problems,
exercises of all levels in many forms, then exercises with think blocks or boxed answers.  The
response format as a whole and the styles of reasoning are left for SFT and RL.  The text comes
from the generator of the problems: a short benchmark problem may occur in it, as on the web.  SFT
and RL data are decontaminated, it is not.
"""

from __future__ import annotations

import random

from ace_lib import prompts
from ace_lib.tinyworld import code_problems
from ace_lib.tinyworld.math_problems import LARGEST_VALUE, TOPICS, make_math_problem
from ace_lib.tinyworld.teacher import math_lines, plan

TEXTBOOK_LEVELS = (1, 2, 3)
# World -> weight of level 1, 2, … among exercises.
EXERCISE_LEVELS = {"tiny": (1, 2, 3, 4, 4), "mid": (1, 2, 3, 4, 4, 4, 4, 4, 4, 4)}


def fact(rng: random.Random) -> str:
    """Write one arithmetic fact in the range of numbers that problems use."""
    kind = rng.choice("++--**/%<")
    if kind == "+":
        left = rng.randint(0, LARGEST_VALUE)
        right = rng.randint(0, max(1, LARGEST_VALUE - left))
        return f"{left}+{right}={left + right}"
    if kind == "-":
        left = rng.randint(0, LARGEST_VALUE)
        right = rng.randint(0, left)
        return f"{left}-{right}={left - right}"
    if kind == "%":
        left = rng.randint(0, LARGEST_VALUE)
        right = rng.randint(2, 12) if rng.random() < 0.6 else rng.randint(2, 120)
        return f"{left}%{right}={left % right}"
    if kind == "<":
        left, right = sorted((rng.randint(0, 120), rng.randint(1, 120)))
        return f"{left}<{right + (left == right)}"
    right = rng.randint(2, 13)
    left = rng.randint(1, LARGEST_VALUE // right)
    product = left * right
    if kind == "/":
        return f"{product}/{right}={left}"
    return f"{left}*{right}={product}" if rng.random() < 0.5 else f"{right}*{left}={product}"


def fact_line(rng: random.Random) -> str:
    """Write a few facts the way worked solutions list their steps."""
    return "\n".join(fact(rng) for _ in range(rng.randint(2, 6)))


def textbook_problem(rng: random.Random) -> str:
    """Write an easy math problem with its worked solution, in prose, not in chat format."""
    problem = make_math_problem(rng.choice(TOPICS), rng.choice(TEXTBOOK_LEVELS), rng)
    lines, answer = math_lines(problem["blueprint"], 0.0, False, rng)
    return "\n".join(["Problem: " + problem["prompt"], "Solution:", *lines, f"Answer: {answer}"])


def program_with_comment(rng: random.Random) -> str:
    """Write an easy program under a comment that says what it does, sometimes with its plan."""
    task = code_problems.draw_task(rng.choice(TEXTBOOK_LEVELS), rng)
    mode = rng.choice(code_problems.FORMATS)
    name = rng.choice(code_problems.FUNCTION_NAMES)
    words = f"Plan:\n{plan(task)}\n" if rng.random() < 0.5 else ""
    return f"# {code_problems.describe(task)}\n{words}{code_problems.program(task, mode, name)}"


def document(rng: random.Random) -> str:
    """Draw one document of the first phase: facts 40 %, textbook 30 %, programs 30 %."""
    return rng.choices((fact_line, textbook_problem, program_with_comment), (4, 3, 3))[0](rng)


QUESTION_FORMS = (
    "Problem: {question}\nSolution:\n{answer}",
    "Question: {question}\n\n{answer}",
    "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>",
    "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}{suffix}<|im_end|>\n"
    "<|im_start|>assistant\n{answer}<|im_end|>",
)


def exercise(rng: random.Random, world: str = "tiny") -> str:
    """Draw one document of the second phase: exercises of all levels in many forms, some facts."""
    return _question_and_answer(rng, world, thoughts=False)


def dialogue(rng: random.Random, world: str = "tiny") -> str:
    """Draw one document of the third phase: exercises, some with a think block or a boxed answer.

    Qwen2.5's base models have seen such text too.  A think block is never followed by a box or a
    fenced program here: that, and the teacher's terse style, are for SFT to teach.
    """
    return _question_and_answer(rng, world, thoughts=True)


def _question_and_answer(rng: random.Random, world: str, thoughts: bool) -> str:
    if rng.random() < 0.2:
        return fact_line(rng)
    weights = EXERCISE_LEVELS[world]
    level = rng.choices(range(1, len(weights) + 1), weights)[0]
    domain, write = ("math", _math_answer) if rng.random() < 0.6 else ("code", _code_answer)
    if domain == "math":
        problem = make_math_problem(rng.choice(TOPICS), level, rng)
    else:
        level = min(level, code_problems.HIGHEST_LEVEL)
        problem = code_problems.make_code_problem(rng.choice(code_problems.FORMATS), level, rng)
    message = prompts.user_message(problem)
    return rng.choices(QUESTION_FORMS, (3, 2, 2, 3))[0].format(
        question=problem["prompt"],
        answer=write(problem, thoughts, rng),
        system=prompts.SYSTEM,
        suffix=message.removeprefix(problem["prompt"]),
    )


def _math_answer(problem: dict, thoughts: bool, rng: random.Random) -> str:
    checked = thoughts and rng.random() < 0.3
    lines, result = math_lines(problem["blueprint"], 0.0, checked, rng)
    work = "\n".join(lines)
    if thoughts and rng.random() < 0.5:
        return f"<think>\n{work}\n</think>\nAnswer: {result}"
    if thoughts and rng.random() < 0.5:
        return f"{work}\n\\boxed{{{result}}}"
    return f"{work}\nAnswer: {result}"


def _code_answer(problem: dict, thoughts: bool, rng: random.Random) -> str:
    task = problem["blueprint"]
    code = code_problems.program(task, problem["mode"], problem["entry_point"])
    if thoughts and rng.random() < 0.5:
        return f"<think>\n{plan(task)}\n</think>\n{code}"
    if thoughts and rng.random() < 0.5:
        return f"```python\n{code}```"
    return f"{plan(task)}\n{code}" if rng.random() < 0.5 else code
