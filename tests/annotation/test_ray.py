"""Shards on a Ray cluster of two nodes on this machine."""

import time

import pytest

from welt_spacy.annotation.local import prepared, run_local
from welt_spacy.annotation.shards import CLAIMS, DATA
from welt_spacy.annotation.status import finish
from welt_spacy.errors import WeltError
from welt_spacy.parallel.claims import Claims

from ..factories.annotation import (
    data_of,
    make_pipeline,
    make_settings,
    some_texts,
    write_jsonl,
)

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Input, settings, and the output of the local engine."""
    folder = tmp_path_factory.mktemp("work")
    texts = some_texts(3000)
    texts[5] = "x" * 5000
    files = [str(write_jsonl(folder / "in.jsonl", texts))]
    pipeline = make_pipeline(folder / "rules")
    settings = make_settings(pipeline, shard_docs=30, max_chars=1000)
    with prepared(folder / "local", files, settings) as plan:
        run_local(folder / "local", plan)
    return files, settings, data_of(folder / "local")


@pytest.mark.slow
def test_a_lost_node_changes_nothing(tmp_path, ray_cluster, work):
    from welt_spacy.annotation.ray import run_ray

    files, settings, expected = work
    seen = []
    ray_cluster.make_second()

    def show(status):
        seen.append(status.shards)
        if ray_cluster.second is not None and status.shards > 0:
            ray_cluster.remove_node(ray_cluster.second, allow_graceful=False)
            ray_cluster.second = None

    output = tmp_path / "out"
    with prepared(output, files, settings) as plan:
        run_ray(output, plan, workers=2, show=show)
        summary = finish(output, plan)
    assert ray_cluster.second is None and seen[-1] == len(plan.shards)
    assert (summary["docs"], summary["rejects"]) == (2999, 1)
    # The processes of the lost node end by themselves; then the command cleans up
    claims, limit = Claims(output / CLAIMS), time.monotonic() + 30
    while claims.held() and time.monotonic() < limit:
        time.sleep(0.2)
    claims.clean(output / DATA)
    assert data_of(output) == expected


def test_no_room_is_told_before_the_start(tmp_path, ray_cluster, work):
    from welt_spacy.annotation.ray import run_ray

    files, settings, _ = work
    with prepared(tmp_path / "out", files, settings) as plan:
        for options, told in (
            ({"workers": 50}, "50 actors need 50 CPUs; .*use --workers"),
            (
                {"workers": 1, "num_gpus": 1.0},
                "an actor needs 1 GPUs; the cluster has 0",
            ),
        ):
            with pytest.raises(WeltError, match=told):
                run_ray(tmp_path / "out", plan, **options)


def test_an_error_ends_the_run_in_one_line(tmp_path, ray_cluster, work):
    from welt_spacy.annotation.ray import run_ray

    files, settings, _ = work
    gone = [{**settings.pipelines[0], "place": str(tmp_path / "gone")}]
    with (
        prepared(tmp_path / "out", files, settings._replace(pipelines=gone)) as plan,
        pytest.raises(WeltError, match="gone"),
    ):
        run_ray(tmp_path / "out", plan, workers=1)
