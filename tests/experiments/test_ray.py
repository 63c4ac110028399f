"""An experiment on Ray: the same figures as on this machine, and what fails stops nothing."""

import pytest

from welt_spacy.experiments.executors import run_all, run_ray
from welt_spacy.experiments.results import read_results
from welt_spacy.experiments.runs import failures

from .test_experiments import ENS, VANILLA, corpora, make_grid

pytest.importorskip("ray")
__all__ = ["corpora"]  # a fixture


@pytest.mark.slow
def test_ray_gives_what_this_machine_gives(tmp_path, corpora, ray_cluster):
    import ray

    ray_cluster.make_second()
    schemes = {"vanilla": VANILLA, "bad": {"@misc": "x"}, "ens_0.3": ENS}
    grid = make_grid(tmp_path, schemes=schemes, tuned={}, keep_models=False)
    told = []
    failed = run_ray(
        *(grid, corpora, tmp_path / "ray"), connect=lambda: ray, report=told.append
    )
    assert len(failed) == 1 and failed[0].startswith("ncbi_disease-bad-0: train: ")
    assert told[0] == "3 runs, 0 of them done before" and len(told) == 4
    assert len(failures(tmp_path / "ray")) == 1
    good = make_grid(
        tmp_path,
        schemes={"vanilla": VANILLA, "ens_0.3": ENS},
        tuned={},
        keep_models=False,
    )
    assert run_all(good, corpora, tmp_path / "local", report=str) == []
    one, other = (read_results(good, tmp_path / name) for name in ("ray", "local"))
    assert one.keys() == other.keys()
    for group, schemes in one.items():
        for name, runs in schemes.items():
            assert runs[0].strict == other[group][name][0].strict
    files = [
        sorted(
            p.relative_to(tmp_path / name).as_posix()
            for p in (tmp_path / name / "runs").rglob("*")
        )
        for name in ("ray", "local")
    ]
    assert files[0] == files[1]
    # Nothing is left to do, so nobody is connected to
    assert (
        run_ray(good, corpora, tmp_path / "ray", connect=lambda: None, report=str) == []
    )
