"""Catalogue of corpora: addresses, checksums, licences and the paper's figures.

The tables are CSV files in `welt_spacy/assets`: `manifest.csv` (files and checksums),
`document_splits.csv`, `split_sizes.csv`, `class_distribution.csv` and `hyperparameters.csv`
(Mobasher et al. 2023, tables 11, 1 and 12).
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from ..errors import WeltError

SPLITS = ("train", "dev", "test")
Format = Literal["iob", "pubtator", "bioc", "brat"]

CRICHTON = (
    "Crichton et al. (2017). A neural network multi-task learning approach to "
    "biomedical named entity recognition. BMC Bioinformatics 18:368."
)


@dataclass(frozen=True)
class CorpusFile:
    """A file of a corpus.

    mirror_path (str): The path under a mirror and in the cache.
    url (str): The publisher's address.
    member (str | None): The file inside the archive at the address, if it is one.
    sha256 (str | None): The checksum; None if it is not known before the first fetch.
    """

    mirror_path: str
    url: str
    member: str | None
    sha256: str | None


@dataclass(frozen=True)
class Corpus:
    """A corpus of the catalogue.

    id (str): The name in commands.
    title (str): The name in texts.
    format (str): The format of the files.
    types (dict[str, str]): Entity types of the files -> labels of docs.
    source (str): The name in the manifest; corpora of the same files share it.
    citation (str): The publication to cite.
    homepage (str): The publisher's page.
    n_sents (int): Number of sentences of a doc by default; 0 for whole documents.
    """

    id: str
    title: str
    format: Format
    types: dict[str, str]
    source: str
    citation: str
    homepage: str
    n_sents: int = 1

    @property
    def files(self) -> dict[str, CorpusFile]:
        """The file of each split."""
        return {
            row["split"]: _corpus_file(row)
            for row in _table("manifest.csv")
            if row["corpus"] == self.source
        }

    def documents(self, split: str) -> frozenset[str] | None:
        """Return the ids of the documents of the file that belong to a split; None for
        all.
        """
        for row in _table("document_splits.csv"):
            if (row["corpus"], row["split"]) == (self.id, split):
                return frozenset(row["documents"].split())
        return None

    @property
    def licence(self) -> str:
        """The licence."""
        rows = [r for r in _table("manifest.csv") if r["corpus"] == self.source]
        return rows[0]["licence"]

    @property
    def paper_sizes(self) -> dict[str, int] | None:
        """Number of sentences by split in table 11 of the paper; None if it is not there."""
        row = _row("split_sizes.csv", self.id)
        return {split: int(row[split]) for split in SPLITS} if row else None

    @property
    def paper_shares(self) -> dict[str, float] | None:
        """Percentages of O, B and I in train in table 1 of the paper; None if it is not
        there.
        """
        row = _row("class_distribution.csv", self.id)
        return {tag: float(row[tag]) for tag in "OBI"} if row else None


_IOB_HOME = "https://github.com/cambridgeltl/MTL-Bioinformatics-2016"
_BIORED_HOME = "https://ftp.ncbi.nlm.nih.gov/pub/lu/BioRED/"
_AIONER_HOME = "https://github.com/ncbi/AIONER"
_AIONER = (
    " Documents: Luo et al. (2023). AIONER: all-in-one scheme-based biomedical named "
    "entity recognition using deep learning. Bioinformatics 39(5)."
)
_BC5CDR_CITATION = (
    "Li et al. (2016). BioCreative V CDR task corpus: a resource for chemical "
    "disease relation extraction. Database 2016:baw068. IOB files: " + CRICHTON
)
_BIORED_CITATION = (
    "Luo et al. (2022). BioRED: a rich biomedical relation extraction dataset. "
    "Briefings in Bioinformatics 23(5)."
)

CATALOG: dict[str, Corpus] = {
    corpus.id: corpus
    for corpus in (
        Corpus(
            "bc5cdr",
            "BC5CDR (chemicals and diseases)",
            "iob",
            {"Chemical": "Chemical", "Disease": "Disease"},
            "bc5cdr",
            _BC5CDR_CITATION,
            _IOB_HOME,
        ),
        Corpus(
            "bc5cdr_chemical",
            "BC5CDR-chemical",
            "iob",
            {"Chemical": "Chemical"},
            "bc5cdr_chemical",
            _BC5CDR_CITATION,
            _IOB_HOME,
        ),
        Corpus(
            "bc5cdr_disease",
            "BC5CDR-disease",
            "iob",
            {"Disease": "Disease"},
            "bc5cdr_disease",
            _BC5CDR_CITATION,
            _IOB_HOME,
        ),
        Corpus(
            "ncbi_disease",
            "NCBI-disease",
            "iob",
            {"Disease": "Disease"},
            "ncbi_disease",
            "Dogan et al. (2014). NCBI disease corpus: a resource for disease name "
            "recognition and concept normalization. J Biomed Inform 47:1-10. "
            "IOB files: " + CRICHTON,
            _IOB_HOME,
        ),
        Corpus(
            "linnaeus",
            "LINNAEUS",
            "iob",
            {"Species": "Species"},
            "linnaeus",
            "Gerner et al. (2010). LINNAEUS: a species name identification system "
            "for biomedical literature. BMC Bioinformatics 11:85. IOB files: "
            + CRICHTON,
            _IOB_HOME,
        ),
        Corpus(
            "bc2gm",
            "BC2GM",
            "iob",
            {"GENE": "GENE"},
            "bc2gm",
            "Smith et al. (2008). Overview of BioCreative II gene mention "
            "recognition. Genome Biology 9(S2):S2. IOB files: " + CRICHTON,
            _IOB_HOME,
        ),
        Corpus(
            "bc4chemd",
            "BC4CHEMD",
            "iob",
            {"Chemical": "Chemical"},
            "bc4chemd",
            "Krallinger et al. (2015). The CHEMDNER corpus of chemicals and drugs "
            "and its annotation principles. J Cheminform 7(S1):S2. IOB files: "
            + CRICHTON,
            _IOB_HOME,
        ),
        Corpus(
            "biored_chemical",
            "BioRED-chemical",
            "pubtator",
            {"ChemicalEntity": "Chemical"},
            "biored",
            _BIORED_CITATION,
            _BIORED_HOME,
        ),
        Corpus(
            "biored_disease",
            "BioRED-disease",
            "pubtator",
            {"DiseaseOrPhenotypicFeature": "Disease"},
            "biored",
            _BIORED_CITATION,
            _BIORED_HOME,
        ),
        Corpus(
            "bc5cdr_docs",
            "BC5CDR (chemicals and diseases), whole abstracts",
            "pubtator",
            {"Chemical": "Chemical", "Disease": "Disease"},
            "bc5cdr_docs",
            "Li et al. (2016). BioCreative V CDR task corpus: a resource for chemical "
            "disease relation extraction. Database 2016:baw068." + _AIONER,
            _AIONER_HOME,
            n_sents=0,
        ),
        Corpus(
            "ncbi_disease_docs",
            "NCBI-disease, whole abstracts",
            "pubtator",
            dict.fromkeys(
                ("SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"),
                "Disease",
            ),
            "ncbi_disease_docs",
            "Dogan et al. (2014). NCBI disease corpus: a resource for disease name "
            "recognition and concept normalization. J Biomed Inform 47:1-10." + _AIONER,
            _AIONER_HOME,
            n_sents=0,
        ),
        Corpus(
            "gnormplus",
            "GNormPlus (BC2GM's abstracts annotated anew), whole abstracts",
            "pubtator",
            {"Gene": "Gene"},
            "gnormplus",
            "Wei et al. (2015). GNormPlus: an integrative approach for tagging genes, "
            "gene families, and protein domains. BioMed Research International."
            + _AIONER,
            _AIONER_HOME,
            n_sents=0,
        ),
        Corpus(
            "nlm_gene",
            "NLM-Gene, whole abstracts",
            "pubtator",
            {"Gene": "Gene"},
            "nlm_gene",
            "Islamaj et al. (2021). NLM-Gene, a richly annotated gold standard dataset "
            "for gene entities. J Biomed Inform 118:103779." + _AIONER,
            _AIONER_HOME,
            n_sents=0,
        ),
    )
}


def get_corpus(corpus_id: str) -> Corpus:
    """Return the corpus with an id."""
    if corpus_id not in CATALOG:
        raise WeltError(
            f"No corpus is called {corpus_id!r}: use one of {', '.join(CATALOG)}"
        )
    return CATALOG[corpus_id]


def hyperparameters(corpus_id: str, encoder: str) -> dict[str, str]:
    """Return the paper's settings for a corpus and an encoder (table 12)."""
    corpus_id = get_corpus(corpus_id).id
    row_id = "bc5cdr_chemical" if corpus_id == "bc5cdr" else corpus_id
    for row in _table("hyperparameters.csv"):
        if (row["corpus"], row["encoder"]) == (row_id, encoder):
            return row
    raise WeltError(
        f"No encoder is called {encoder!r}: use one of {', '.join(encoder_names())}"
    )


def encoder_names() -> list[str]:
    """Return the encoders of the paper."""
    return list(dict.fromkeys(r["encoder"] for r in _table("hyperparameters.csv")))


def _corpus_file(row: dict[str, str]) -> CorpusFile:
    url, _, member = row["upstream"].partition("!")
    # Files without a path in the mirror's manifest are in the folder of their corpus
    path = row["mirror_path"] or (
        "mtl-bioinformatics-2016/data/" + url.rpartition("/data/")[2]
    )
    return CorpusFile(path, url, member or None, row["sha256"] or None)


@cache
def _table(name: str) -> list[dict[str, str]]:
    text = (
        files("welt_spacy").joinpath("assets").joinpath(name).read_text(encoding="utf8")
    )
    return list(csv.DictReader(text.splitlines()))


def _row(name: str, corpus_id: str) -> dict[str, str] | None:
    return next((row for row in _table(name) if row["corpus"] == corpus_id), None)
