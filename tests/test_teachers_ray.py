"""A model on a Ray cluster answers as it does here, whatever happens to actors and machines."""

from importlib.util import find_spec

import pytest
from ray_cluster import run_script

from ace_lib import sampling, teachers_ray
from ace_lib.teachers import TeacherOptions


@pytest.mark.skipif(not find_spec("ray"), reason="pip install '.[ray]'")
@pytest.mark.slow
def test_two_nodes_answer_as_one_process_and_survive_deaths() -> None:
    printed = run_script("teacher_cluster.py")
    for line in (
        "3072 answers by 2 nodes, as by one process",
        "256 answers were missing and came from as many as asked",
        "a killed actor gave 512 of 3072 answers",
        "AceError: 3 actors of the Ray cluster died at problem p8 or one asked with it",
        "2560 answers are kept",
        "AceError: no actor of the Ray cluster came up",
        "ModelMissing: model 'nobody/nothing at all'",
        "AceError: an engine takes 2 GPUs, the Ray cluster has fewer",
        "the other node answered what a lost one had",
    ):
        assert line in printed


def test_chunks_of_vllm_are_large_and_leave_no_engine_without_work() -> None:
    def sizes(engine: str, num_rows: int, num_actors: int) -> set[int]:
        groups = {(0, 1): [{"id": i} for i in range(num_rows)]}
        options = TeacherOptions(8, 1.0, 1.0, engine=engine)
        chunks = teachers_ray._cut_chunks(groups, options, num_actors)
        assert [row["id"] for chunk in chunks for row in chunk.rows] == list(range(num_rows))
        return {len(chunk.rows) for chunk in chunks}

    assert sizes("transformers", 8192, 4) == {sampling.MAX_ROWS // 2}
    assert sizes("vllm", 8192, 4) == {2048} and sizes("vllm", 8192, 16) == {512}
