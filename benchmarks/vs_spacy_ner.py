"""`welt_ner` against spaCy's own `ner`: same tok2vec, same steps, same batches.

    python benchmarks/vs_spacy_ner.py [--corpus bc5cdr_chemical]

Everything but the component under test comes from configs/welt_cpu.cfg. spaCy's
`ner` is run with the optimizer settings of that file and, as `ner, quickstart`,
with those of spaCy's quickstart config, whichever does better for it. About 25
minutes on 2 cores.
"""

from pathlib import Path
from statistics import mean

import typer
from common import ROOT, about, format_mean_sd, prepare, run_trainings, score
from thinc.api import Config

NER = """
[ner]
factory = "ner"
incorrect_spans_key = null
moves = null
update_with_oracle_cut_size = 100

[ner.scorer]
@scorers = "spacy.ner_scorer.v1"

[ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 64
maxout_pieces = 2
use_upper = false
nO = null

[ner.model.tok2vec]
@architectures = "spacy.Tok2VecListener.v1"
width = 96
upstream = "tok2vec"
"""


def make_configs(folder: Path) -> dict[str, Path]:
    """Write a config for each side, from configs/welt_cpu.cfg."""
    folder.mkdir(parents=True, exist_ok=True)
    base = (ROOT / "configs" / "welt_cpu.cfg").read_text(encoding="utf8")
    paths = {}
    for side in ("ner", "ner, quickstart", "welt_ner, vanilla", "welt_ner, welt"):
        config = Config().from_str(base, interpolate=False)
        if side.startswith("ner"):
            del config["components"]["welt_ner"]
            config["components"]["ner"] = Config().from_str(NER)["ner"]
            config["nlp"]["pipeline"] = ["tok2vec", "ner"]
            if side.endswith("quickstart"):
                config["training"]["optimizer"]["use_averages"] = False
                config["training"]["dropout"] = 0.1
        else:
            scheme = side.split(", ")[1]
            weighting = {"@misc": f"welt_spacy.{scheme}_weights.v1"}
            config["components"]["welt_ner"]["weighting"] = weighting
        paths[side] = folder / f"{side.replace(', ', '-')}.cfg"
        config.to_disk(paths[side], interpolate=False)
    return paths


def main(
    corpus: str = "bc5cdr_chemical",
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    steps: int = 2000,
    n_jobs: int = 2,
    output: Path = Path("training/benchmarks/vs_spacy_ner"),
) -> None:
    data = prepare(corpus, Path("corpus"))
    configs = make_configs(output)
    run_trainings(
        [
            {
                "config": config,
                "data": data,
                "output": output / f"{config.stem}-{seed}",
                "overrides": {
                    "system.seed": str(seed),
                    "training.max_steps": str(steps),
                },
                "threads": max(1, 2 // n_jobs),
            }
            for seed in seeds
            for config in configs.values()
        ],
        n_jobs,
    )
    print(f"{corpus}, {steps} steps, seeds {', '.join(map(str, seeds))}\n")
    print("| component | dev P / R / F1 | test P / R / F1 | test words/s |")
    print("|---|---|---|---|")
    means: dict[str, dict[str, float]] = {}
    for side, config in configs.items():
        cells, speeds = [], []
        for split in ("dev", "test"):
            scores = [
                score(output / f"{config.stem}-{seed}" / "model-best", data, split)
                for seed in seeds
            ]
            cells.append(
                " / ".join(format_mean_sd([s[n] for s in scores]) for n in "prf")
            )
            means.setdefault(side, {})[split] = mean(s["f"] for s in scores)
            speeds = [s["speed"] for s in scores]
        print(f"| {side} | {' | '.join(cells)} | {mean(speeds):,.0f} |")
    print()
    for side in ("welt_ner, vanilla", "welt_ner, welt"):
        for split in ("dev", "test"):
            best = max(means["ner"][split], means["ner, quickstart"][split])
            print(f"{side}, {split}: {means[side][split] - best:+.2f} F1 over `ner`")
    print(f"\nmean ± standard deviation; {about(['spacy', 'thinc', 'welt-spacy'])}")


if __name__ == "__main__":
    typer.run(main)
