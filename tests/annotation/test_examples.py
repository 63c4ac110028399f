"""The scripts in docs/examples: options of the commands, fields of KubeRay."""

import re
import shlex
import subprocess

import srsly
import typer

from welt_spacy.cli import app

# Fields of RayJob's and RayCluster's Go types (ray.io/v1), from which the CRD is generated:
# those that the example uses, and those that are required
JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"}
JOB |= {"backoffLimit", "rayClusterSpec"}
CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template"}
WORKER = HEAD | {"groupName", "replicas", "minReplicas", "maxReplicas"}


def check_command(words, *names):
    """Parse the words of a `spacy welt` command and return its parameters."""
    assert words[: 2 + len(names)] == ["spacy", "welt", *names]
    command = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    rest = words[2 + len(names) :]
    return command.make_context(names[-1], rest, resilient_parsing=False).params


def slurm_command(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text(encoding="utf8").replace("\\\n", " ")
    line = re.search(r"^exec (spacy .*)$", text, re.MULTILINE)[1]
    values = {"CPUS_PER_TASK": "8", "ARRAY_TASK_ID": "3", "ARRAY_TASK_COUNT": "16"}
    for name, value in values.items():
        line = line.replace(f"$SLURM_{name}", value)
    return shlex.split(line.replace("$SCRATCH", "/s"))


def test_annotation_by_slurm(root):
    words = slurm_command(root / "docs/examples/annotate.sbatch")
    options = check_command(words, "annotate")
    assert options["shard"] == "3/16" and options["workers"] == 8
    assert options["output"].name == "annotated"


def test_experiment_by_slurm(root):
    words = slurm_command(root / "docs/examples/experiment.sbatch")
    options = check_command(words, "experiment", "run")
    assert options["gpu_id"] == [0]
    assert options["output"].name == "paper"
    assert (root / options["experiment"]).is_file()


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
    options = check_command(shlex.split(spec["entrypoint"]), "annotate")
    assert options["engine"] == "ray" and options["workers"] <= cpus
