"""Inputs, pipelines and jobs of annotation."""

import gzip
import json
from pathlib import Path

import spacy

from welt_spacy.annotation.folder import AnnotationFolder
from welt_spacy.annotation.plan import Settings
from welt_spacy.annotation.report import Summary
from welt_spacy.annotation.shards import Job, annotate_shard
from welt_spacy.annotation.worker import load_pipelines
from welt_spacy.tokens.confidence import install_extensions

WORDS = (
    "aspirin",
    "selegiline",
    "nausea",
    "rats",
    "Parkinson",
    "é",
    "e\u0301",
    "😀",
    "the",
)


def make_pipeline(path: Path, name: str = "rules", patterns=()) -> Path:
    """Save a pipeline that loads at once: an entity_ruler."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        list(patterns)
        or [
            {"label": "Chemical", "pattern": "aspirin"},
            {"label": "Chemical", "pattern": "selegiline"},
            {"label": "Disease", "pattern": "nausea"},
            {"label": "Symbol", "pattern": "😀"},
        ]
    )
    nlp.meta["name"] = name
    install_extensions()
    nlp.to_disk(path)
    return path


def make_texts(n: int) -> list[str]:
    """Return texts that are all different."""
    return [
        f"Doc {i}: {' '.join(WORDS[(i * k) % len(WORDS)] for k in range(1, 9))}."
        for i in range(n)
    ]


def write_jsonl(path: Path, texts, ids=None) -> Path:
    rows = [
        {"id": str(i) if ids is None else ids[i], "text": text}
        for i, text in enumerate(texts)
    ]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode("utf8")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def make_job(output: Path, *pipelines: Path, **settings) -> Job:
    return Job(output, [str(path) for path in pipelines], Settings(**settings))


def annotate_serially(job: Job, files) -> Summary:
    """Annotate files in this process, without workers."""
    with AnnotationFolder(job, [str(file) for file in files]) as folder:
        pipelines = load_pipelines(job)
        for shard in folder.pending:
            annotate_shard(job, shard, pipelines)
        return folder.finish()


def read_output(folder: Path):
    """Return the rows of all files of an output in JSONL, in the order of the shards."""
    return [
        json.loads(line)
        for path in sorted((folder / "data").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def read_rejects(folder: Path):
    return [
        json.loads(line)
        for path in sorted((folder / "rejects").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def read_data(folder: Path) -> dict[str, bytes]:
    """Return the content of all files in data/ and rejects/ by name. Hidden files, which
    killed processes leave, are included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("data", "rejects")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def pubmed_article(pmid, title, abstract, version=1) -> str:
    sections = "".join(
        f'<AbstractText Label="{label}">{text}</AbstractText>'
        if label
        else f"<AbstractText>{text}</AbstractText>"
        for label, text in abstract
    )
    body = f"<Abstract>{sections}</Abstract>" if sections else ""
    return (
        f'<PubmedArticle>\n  <MedlineCitation Status="MEDLINE">\n'
        f'    <PMID Version="{version}">{pmid}</PMID>\n    <Article><Journal><Title>J</Title>'
        f"</Journal><ArticleTitle>{title}</ArticleTitle>{body}"
        "<OtherAbstract><AbstractText>other</AbstractText></OtherAbstract></Article>\n"
        "    <CommentsCorrectionsList><PMID>1</PMID></CommentsCorrectionsList>\n"
        "  </MedlineCitation>\n</PubmedArticle>\n"
    )


def pubmed(*articles: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet SYSTEM '
        '"http://dtd.example.org/pubmed.dtd">\n<PubmedArticleSet>\n'
        f"{''.join(articles)}</PubmedArticleSet>\n"
    )
