"""The scripts in docs/examples: options that exist, fields that KubeRay knows."""

import re
import shlex
import subprocess

import srsly
import typer

from welt_spacy.cli import app

# Of RayJob's and RayCluster's Go types (ray.io/v1), from which the CRD is made: what is
# used here of them, and what must be there
JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"}
JOB |= {"backoffLimit", "rayClusterSpec"}
CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template"}
WORKER = HEAD | {"groupName", "replicas", "minReplicas", "maxReplicas"}


def check_command(words):
    """The words of a `spacy welt annotate` command are arguments and options of it."""
    assert words[:3] == ["spacy", "welt", "annotate"]
    command = typer.main.get_command(app).commands["annotate"]
    context = command.make_context("annotate", words[3:], resilient_parsing=False)
    return context.params


def test_slurm(root):
    path = root / "docs/examples/annotate.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text(encoding="utf8").replace("\\\n", " ")
    line = re.search(r"^exec (spacy .*)$", text, re.MULTILINE)[1]
    told = check_command(
        shlex.split(line.replace("$SLURM_CPUS_PER_TASK", "8").replace("$SCRATCH", "/s"))
    )
    assert told["claim"] and told["workers"] == 8 and told["output"].name == "annotated"


def test_kuberay(root):
    job = srsly.read_yaml(root / "docs/examples/annotate-rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert set(spec) <= JOB and set(cluster) <= CLUSTER
    assert set(cluster["headGroupSpec"]) == HEAD
    cpus = 0
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == WORKER
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        cpus += group["replicas"] * int(container["resources"]["limits"]["cpu"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(v, str) for v in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        mounted = {m["name"] for c in pod["containers"] for m in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    told = check_command(shlex.split(spec["entrypoint"]))
    assert told["engine"] == "ray" and told["workers"] <= cpus
