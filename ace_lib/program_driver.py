"""What stands beside an untrusted program: finds its entry point, calls it, encodes the value.

The sandbox's child imports `find_entry` and `plain`. A remote sandbox gets the text of this file in
front of a call of `drive`, so it uses the standard library only. Nothing here is trusted by the
side that judges: a program that tampers with it can only claim another answer.
"""

import json
import math
import os
import random
import resource
import sys
import types

# Of a program that is asked for a function: other graders import it, too, so what stands under
# `if __name__ == "__main__":`, such as reading input, does not run.
IMPORTED_NAME = "program"


class NotPlain(TypeError):
    """A returned value that is not plain data."""


def plain(value: object) -> object:
    """A value reduced to exact base types, as JSON: a dict becomes {"d": [[key, value], …]}.

    Subclasses are reduced with the base type's own methods, so no `__eq__`, `__iter__` or
    `__float__` of the program's decides anything. Raises NotPlain: it holds something else than
    numbers, text, lists, tuples, dicts and sets.
    """
    if value is None or value is True or value is False:
        return value
    for base, read in _READERS:
        if isinstance(value, base):
            return read(value)
    if type(value).__module__ == "numpy":
        return plain(value.tolist())
    raise NotPlain(f"returned a {type(value).__name__}, not plain data")


_READERS = (
    (int, lambda value: int.__add__(value, 0)),
    (float, lambda value: float.__add__(value, 0.0)),
    (str, lambda value: str.__str__(value) if type(value) is str else str.__add__(value, "")),
    (list, lambda value: [plain(item) for item in list.__iter__(value)]),
    (tuple, lambda value: [plain(item) for item in tuple.__iter__(value)]),
    (dict, lambda value: {"d": [[plain(k), plain(v)] for k, v in dict.items(value)]}),
    ((set, frozenset), lambda value: {"s": [plain(item) for item in value]}),
)


def find_entry(names: dict, entry_point: str) -> object:
    """The function of that name in a program's names, or the method of its class `Solution`.

    Raises NameError: the program defines neither.
    """
    if entry_point in names:
        return names[entry_point]
    owner, _, method = entry_point.rpartition(".")
    solution = names.get(owner or "Solution")
    if solution is None or not hasattr(solution, method):
        raise NameError(f"the program defines no {entry_point!r}")
    return getattr(solution(), method)


def drive(
    program: str, entry_point: str, prelude: str, limits: tuple[float, int, int], tag: str
) -> None:
    """Run a program in this process, as its main module, and end like it.

    Args:
        program: Python source.
        entry_point: "" for a program that reads standard input and prints; else the function to
            call with the JSON list on standard input. Its value is printed as one line that starts
            with `tag`, and what the program itself prints is thrown away.
        prelude: source whose names the program may use without importing them.
        limits: CPU seconds, recursion depth, digits of an integer.
        tag: start of the line that holds the value.
    """
    cpu_seconds, depth, digits = limits
    soft = math.ceil(cpu_seconds) + 1  # the first signal says timeout, the second comes by force
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + 1))
    sys.setrecursionlimit(depth)
    sys.set_int_max_str_digits(digits)
    random.seed(0)
    name = IMPORTED_NAME if entry_point else "__main__"
    module = types.ModuleType(name)
    exec(prelude, module.__dict__)
    module.__dict__.pop(entry_point, None)  # else the prelude's own function would answer
    sys.modules["__main__"] = sys.modules[name] = module
    arguments = json.loads(sys.stdin.buffer.read()) if entry_point else []
    answer = os.dup(1)
    if entry_point:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    exec(compile(program, "<program>", "exec", dont_inherit=True), module.__dict__)
    if entry_point:
        value = plain(find_entry(module.__dict__, entry_point)(*arguments))
        with open(answer, "w") as line:
            line.write(f"\n{tag}{json.dumps(value)}\n")
        os._exit(0)  # threads and exit functions of the program come too late
