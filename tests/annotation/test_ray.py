"""Annotation on a Ray cluster of two nodes on this machine."""

import pytest

from welt_spacy.annotation.plan import Settings
from welt_spacy.annotation.run import Resources, annotate_files
from welt_spacy.errors import WeltError

from ..factories.annotation import (
    annotate_serially,
    make_job,
    make_pipeline,
    make_texts,
    read_data,
    write_jsonl,
)

pytest.importorskip("ray")
SETTINGS = {"shard_docs": 30, "max_chars": 1000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with a pipeline, `rules`, an input, `in.jsonl`, and its output, `serial`."""
    folder = tmp_path_factory.mktemp("work")
    texts = make_texts(3000)
    texts[5] = "x" * 5000
    path = write_jsonl(folder / "in.jsonl", texts)
    pipeline = make_pipeline(folder / "rules")
    annotate_serially(make_job(folder / "serial", pipeline, **SETTINGS), [path])
    return folder


@pytest.fixture
def annotate(ray_cluster, folder):
    """Annotate the input on the cluster."""

    def run(output, pipeline="rules", on_update=lambda status: None, **resources):
        return annotate_files(
            [folder / pipeline],
            [str(folder / "in.jsonl")],
            output,
            Settings(**SETTINGS),
            resources=Resources(engine="ray", **resources),
            on_update=on_update,
        )

    return run


@pytest.mark.slow
def test_a_lost_node_changes_nothing(tmp_path, ray_cluster, annotate, folder):
    ray_cluster.make_second()

    def remove_node(status):
        if ray_cluster.second is not None and status.done:
            ray_cluster.remove_node(ray_cluster.second, allow_graceful=False)
            ray_cluster.second = None

    summary = annotate(tmp_path / "out", workers=2, on_update=remove_node)
    assert ray_cluster.second is None
    assert (summary.docs, summary.rejects) == (2999, 1)
    data = read_data(tmp_path / "out")
    # Processes of the lost node may still be at unfinished, hidden files
    visible = {name: data[name] for name in data if "/." not in name}
    assert visible == read_data(folder / "serial")


@pytest.mark.parametrize(
    "resources, message",
    [
        ({"workers": 50}, "50 actors need 50 CPUs: .*Use --workers"),
        ({"workers": 1, "num_gpus": 1.0}, "an actor needs 1 GPUs: the cluster has 0"),
    ],
)
def test_a_cluster_without_room_is_an_error(tmp_path, annotate, resources, message):
    with pytest.raises(WeltError, match=message):
        annotate(tmp_path / "out", **resources)


def test_an_error_of_an_actor_is_one_line(tmp_path, annotate, folder):
    path = make_pipeline(folder / "broken", "broken")
    config = (path / "config.cfg").read_text()
    (path / "config.cfg").write_text(config.replace("entity_ruler", "no_such_pipe"))
    with pytest.raises(WeltError, match="can't load this pipeline"):
        annotate(tmp_path / "out", pipeline="broken", workers=1)
