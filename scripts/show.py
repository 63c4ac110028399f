"""Load a pipeline by its name and print the entities of one abstract."""

import spacy
import typer
from rich.console import Console
from rich.table import Table

TEXT = (
    "Valproate-induced hyperammonemic encephalopathy in a patient with bipolar "
    "disorder. A 46-year-old woman treated with valproic acid (1,500 mg/day) and "
    "quetiapine was admitted with confusion and ataxia. Serum ammonia was raised, "
    "while liver enzymes were normal. Valproic acid was stopped and L-carnitine was "
    "given. The encephalopathy resolved within three days; lithium was introduced "
    "later without tremor or renal impairment."
)


def main(name: str, text: str = TEXT) -> None:
    nlp = spacy.load(name)
    doc = nlp(text)
    console = Console(highlight=False)
    console.print(f"\nspacy.load({name!r}), welt_ner on:\n\n{text}\n")
    table = Table("entity", "label", "characters", "confidence")
    for ent in doc.ents:
        table.add_row(
            ent.text,
            ent.label_,
            f"{ent.start_char}-{ent.end_char}",
            f"{ent._.confidence:.3f}",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
