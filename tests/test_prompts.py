import pytest

from ace_lib import prompts

MATH = {"domain": "math", "prompt": "What is 2 + 3?"}
CODE = {"domain": "code", "prompt": "Add two numbers.", "starter_code": ""}


class PlainTokenizer:
    """Renders ChatML as the tiny model's template does, without opening the think block."""

    opens_think = False

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
        think = "<think>\n" if self.opens_think else ""
        return "".join(turns) + "<|im_start|>assistant\n" + think


@pytest.mark.parametrize("opens_think", [False, True])
def test_the_rendered_prompt_ends_inside_the_think_block(opens_think):
    tokenizer = PlainTokenizer()
    tokenizer.opens_think = opens_think
    text = prompts.render_prompt(tokenizer, MATH)
    assert text.endswith("<|im_start|>assistant\n<think>\n")
    assert text.count("<think>") == 1


def test_each_domain_has_the_papers_instruction():
    assert "\\boxed{}" in prompts.user_message(MATH)
    assert "```python" in prompts.user_message(CODE)
    with_header = prompts.user_message({**CODE, "starter_code": "def add(a, b):"})
    assert "Function header:\n```\ndef add(a, b):\n```" in with_header


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{5}", "5"),
        ("<think>\\boxed{4}</think>\\boxed{5}", "5"),
        ("<think>\\boxed{4}</think>none", None),
        ("<think>\\boxed{4}", None),
        ("<think>a</think>\\boxed{5}<think>b", None),
        ("a</think>\\boxed{1}\\boxed{2}", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{6 or \\boxed{5}}", "6 or \\boxed{5}"),
        ("\\boxed{1} \\boxed{", "1"),
        ("\\boxed {7}", "7"),
        ("{{\\boxed{7}", "7"),
        ("\\boxed", None),
        ("", None),
    ],
)
def test_the_answer_is_the_last_box_after_the_last_think(response, answer):
    assert prompts.final_answer(response) == answer


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("```python\na = 1\n```", "a = 1\n"),
        ("<think>\n```python\na\n```\n</think>\n```python\nb\n```", "b\n"),
        ("<think>\n```python\na\n```", None),
        ("```python\na\n```\ntext\n```python\nb\n```\n", "b\n"),
        ("```python\na\n```\n```python\nb", "a\n"),
        ("```\na\n```", None),
        ("```python\r\na\r\n```", "a\r\n"),
        ("1. so:\n   ```python\n   if a:\n       b\n\n   ```", "if a:\n    b\n\n"),
        ("no code", None),
    ],
)
def test_the_program_is_the_last_complete_python_block(response, program):
    assert prompts.program(response) == program


def test_extraction_is_linear_in_hostile_text():
    for text in ("{" * 300_000, "\\boxed{" * 50_000, "```python\n" * 100_000):
        prompts.final_answer(text)
        prompts.program(text)


def test_a_completion_gets_its_think_tag_back():
    assert prompts.final_answer(prompts.full_response("2+3\n</think>\n\\boxed{5}")) == "5"
