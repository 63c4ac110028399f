"""A folder with a trained pipeline, data in all formats, a package and an experiment."""

import json
import random
import shutil
import string
import zipfile
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from welt_spacy.corpora.catalog import get_corpus
from welt_spacy.corpora.convert import convert_file
from welt_spacy.corpora.corpus_folder import convert_corpus
from welt_spacy.experiments.grid import read_grid

from ..factories import TINY_TOK2VEC, change_dir, run_command
from .cases import hash_files

IOB = "Selegiline\tB-Chemical\n-\tO\ninduced\tO\npostural\tB-Disease\nhypotension\tI-Disease\n\nNo\tO\nnausea\tB-Disease\n"
PUBTATOR = "1|t|Aspirin helps.\n1|a|Less chest pain.\n1\t0\t7\tAspirin\tChemical\tD1\n1\t20\t30\tchest pain\tDisease\n1\tCID\tD1\tD2\n\n2|t|Nothing\n2|a|\n"
BIOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>x</source><date/><key/><document><id>1</id>
<passage><offset>0</offset><text>Aspirin helps.</text><annotation id="1">
<infon key="type">Chemical</infon><location offset="0" length="7"/><text>Aspirin</text>
</annotation></passage><passage><offset>15</offset><text>Less chest pain.</text></passage>
</document></collection>
"""
ANN = "T1\tChemical 0 7\tAspirin\nT2\tDisease 20 30;32 33\tchest pain\nR1\tTreats Arg1:T1 Arg2:T2\n"
TXT = "Aspirin helps. Less chest pain."
GRID = """config: welt_cpu.cfg
corpora: [bc5cdr]
schemes:
  vanilla: {"@misc": welt_spacy.vanilla_weights.v1}
  ens: {"@misc": welt_spacy.ens_weights.v1, beta: 0.3}
seeds: [0, 1]
overrides: {training.max_steps: 2}
tuned: {vanilla: [o_bias]}
"""
WHEEL = "en_x-0.1.0-py3-none-any.whl"
SPANS_KEY = "welt_ner"


class Workplace:
    """The folder, with a backup beside it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = folder / "model"
        self.data = folder / "gold.spacy"
        self.wheel = folder / WHEEL
        self._write_files()
        nlp = self._train()
        self._build_wheel(nlp)
        self._convert_corpus()
        run_command("config", folder / "welt_cpu.cfg", "-e", "cpu")
        with change_dir(folder):
            self.grid = read_grid(folder / "grid.yml")
        (folder / "out").mkdir()
        self.predictions = predict(nlp, make_texts(60))
        self.backup = shutil.copytree(folder, folder.parent / "backup")
        self.hashes = hash_files(folder)

    def _write_files(self) -> None:
        (self.folder / "brat").mkdir()
        for name, text in (
            ("x.tsv", IOB),
            ("x.pubtator", PUBTATOR),
            ("x.xml", BIOC),
            ("brat/x.txt", TXT),
            ("brat/x.ann", ANN),
            ("grid.yml", GRID),
        ):
            (self.folder / name).write_text(text, encoding="utf8")

    def _train(self) -> Language:
        nlp = spacy.blank("en")
        model = {
            "@architectures": "welt_spacy.TokenClassifier.v1",
            "tok2vec": TINY_TOK2VEC,
        }
        nlp.add_pipe("welt_ner", config={"spans_key": SPANS_KEY, "model": model})
        docs = convert_file(self.folder / "x.tsv", "iob", vocab=nlp.vocab).docs * 8
        examples = [spacy.training.Example(doc.copy(), doc) for doc in docs]
        optimizer = nlp.initialize(lambda: examples)
        optimizer.learn_rate = 0.01
        for _ in range(10):
            nlp.update(examples, sgd=optimizer)
        nlp.to_disk(self.model)
        DocBin(docs=docs, store_user_data=True).to_disk(self.data)
        return nlp

    def _build_wheel(self, nlp: Language) -> None:
        meta = {**nlp.meta, "name": "x", "version": "0.1.0"}
        with zipfile.ZipFile(self.wheel, "w") as wheel:
            for path in sorted(self.model.rglob("*")):
                if path.is_file() and path.name != "meta.json":
                    wheel.write(path, f"en_x/en_x-0.1.0/{path.relative_to(self.model)}")
            wheel.writestr("en_x/en_x-0.1.0/meta.json", json.dumps(meta))

    def _convert_corpus(self) -> None:
        self.corpus = get_corpus("bc5cdr")
        self.files = {}
        for split in ("train", "dev", "test"):
            self.files[split] = self.folder / f"{split}.tsv"
            self.files[split].write_text(IOB * 4, encoding="utf8")
        convert_corpus(self.corpus, self.files, self.folder / "data" / "bc5cdr")

    def restore(self) -> set[str]:
        """Undo all changes, and return the names of the files that had changed or were
        missing. New files are not among them."""
        hashes = hash_files(self.folder)
        changed = {
            name for name, before in self.hashes.items() if hashes.get(name) != before
        }
        if hashes != self.hashes:
            shutil.rmtree(self.folder)
            shutil.copytree(self.backup, self.folder)
        return changed


def make_texts(n: int) -> list[str]:
    """Return texts of random words, always the same."""
    rng = random.Random(0)

    def word() -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))

    return [" ".join(word() for _ in range(rng.randint(1, 40))) for _ in range(n)]


Prediction = tuple[list[tuple[str, int, int]], bytes]


def predict(nlp: Language, texts: list[str]) -> list[Prediction]:
    """Return entities, and the bytes of their scores, of each text."""
    predictions = []
    for text in texts:
        doc = nlp(text)  # a group of spans does not keep its doc alive
        spans = doc.spans[SPANS_KEY]
        entities = [(ent.label_, ent.start, ent.end) for ent in spans]
        predictions.append((entities, spans.attrs["scores"].tobytes()))
    return predictions
