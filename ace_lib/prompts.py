"""The words around a problem, and what counts as the answer in a response.

The chat format, system message and instruction suffixes are those the papers publish (P2 appendix
and the model cards of AceReason-Nemotron 1.0 and 1.1). The generation prompt ends with
``<think>\\n``, so a model's completion starts *inside* the think block.
"""

import re

SYSTEM = "You are a helpful and harmless assistant. You should think step-by-step."
MATH_SUFFIX = "\n\nPlease place your final answer inside \\boxed{}."
CODE_FORMAT = (
    "Please place the solution code in the following format:\n"
    "```python\n# Your solution code here\n```"
)
CODE_SUFFIX = "\n\nWrite Python code to solve the problem. " + CODE_FORMAT
STARTER_SUFFIX = (
    "\n\nSolve the problem starting with the provided function header.\n\n"
    "Function header:\n```\n{starter_code}\n```\n\n" + CODE_FORMAT
)
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

_BRACE = re.compile(r"\\boxed\s*(?=\{)|\\.|[{}]", re.DOTALL)


def user_message(row: dict) -> str:
    """The problem statement with the papers' instruction for its domain.

    Args:
        row: a problem row (see `ace_lib.problems`): `domain`, `prompt`, and `starter_code` if any.
    """
    if row["domain"] == "math":
        return row["prompt"] + MATH_SUFFIX
    if row.get("starter_code"):
        return row["prompt"] + STARTER_SUFFIX.format(starter_code=row["starter_code"])
    return row["prompt"] + CODE_SUFFIX


def chat_prompt(row: dict) -> list[dict[str, str]]:
    """System and user message of a problem row, as chat templates and TRL take them."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user_message(row)}]


def render_prompt(tokenizer: object, row: dict, think: bool = True) -> str:
    """The text the model continues: chat template applied, assistant turn open, `<think>` open.

    Args:
        tokenizer: a transformers tokenizer with a chat template. A template that does not open
            the think block itself (any instruct model off the shelf) gets `<think>\\n` appended.
        row: a problem row.
        think: False leaves the template's text alone, for measuring a model that never learned to
            close a think block.
    """
    text = tokenizer.apply_chat_template(
        chat_prompt(row), tokenize=False, add_generation_prompt=True
    )
    if not think or text.rstrip().endswith(THINK_OPEN):
        return text
    return text + THINK_OPEN + "\n"


def full_response(completion: str, think: bool = True) -> str:
    """The assistant turn as the verifier reads it: the `<think>` of the prompt put back."""
    return f"{THINK_OPEN}\n{completion}" if think else completion


def answer_part(response: str) -> str | None:
    """What stands after the last `</think>`; None when a think block is still open.

    A response without any think tag is an answer as a whole.
    """
    close = response.rfind(THINK_CLOSE)
    if response.rfind(THINK_OPEN) > close:
        return None
    return response if close < 0 else response[close + len(THINK_CLOSE) :]


def final_answer(response: str) -> str | None:
    r"""Content of the last complete `\boxed{…}` after the last `</think>`, or None.

    A box inside another box belongs to the outer one. Runs in linear time on any text.
    """
    text = answer_part(response)
    return None if text is None else last_boxed(text)


def last_boxed(text: str) -> str | None:
    r"""Content of the last complete, outermost `\boxed{…}` in `text`, or None."""
    open_braces: list[int] = []  # positions; -1 - position for the brace of a box
    spans: list[tuple[int, int]] = []
    box_at = -1
    for match in _BRACE.finditer(text):
        token, position = match.group(), match.start()
        if token.startswith("\\boxed"):
            box_at = match.end()
        elif token == "{":
            open_braces.append(-1 - position if position == box_at else position)
        elif token == "}" and open_braces:
            start = open_braces.pop()
            if start < 0:
                while spans and spans[-1][0] > -start:
                    spans.pop()
                spans.append((-start, position))
    return text[slice(*spans[-1])].strip() if spans else None


def program(response: str) -> str | None:
    """The last complete ```python block after the last `</think>`, or None."""
    found, block = None, None
    for line in (answer_part(response) or "").splitlines(keepends=True):
        fence = line.strip()
        if fence.startswith("```python"):
            block, indent = [], line[: line.index("`")]  # as of a block within a list
        elif fence == "```" and block is not None:
            found, block = "".join(block), None
        elif block is not None:
            block.append(line.removeprefix(indent))
    return found
