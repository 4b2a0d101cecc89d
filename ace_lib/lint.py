"""Does a profile make sense before it costs GPU hours? `ace lint PROFILE`.

Types, ranges and names are checked by `ace_lib.params`; the rules of `lint_compute` and
`lint_recipe` are about values that only fail together, many of them after days: batches that do
not divide, lengths beyond the context, ratios that vanish with length, disks that fill. Each rule
yields what is wrong and how to mend it.
"""

from ace_lib import lint_compute, lint_recipe
from ace_lib.lint_subject import Finding, Subject
from ace_lib.model_shapes import shape_of
from ace_lib.plan import make_plan
from ace_lib.profiles import load_profile
from ace_lib.steps import read_steps

RULES = [*lint_compute.RULES, *lint_recipe.RULES]


def lint(profile_name: str) -> list[Finding]:
    """Return every fault of a profile; none means that its values fit each other.

    Raises:
        AceError: the profile cannot be read at all; the message has file and line.
    """
    profile = load_profile(profile_name)
    shape = shape_of(profile.shared["model"])
    subject = Subject(profile, read_steps(profile_name), shape, make_plan(profile_name))
    return [finding for rule in RULES for finding in rule(subject)]
