"""Prompts for entities in JSON."""

from collections.abc import Callable, Mapping, Sequence

from ..errors import WeltError
from .responses import LABEL_KEY, NAME_KEY

# Definitions of the labels of the corpora that this package can fetch
DEFINITIONS = {
    "Chemical": "drugs and other chemical substances, by any name",
    "Disease": "diseases, disorders, symptoms and signs",
    "Gene": "genes, their products and families of them",
    "GENE": "genes, their products and families of them",
    "Species": "organisms, by their scientific or common names",
}

INSTRUCTION = (
    "Find all named entities of these types in the text:\n"
    "{types}\n"
    "Answer with a JSON array of objects with the keys "
    f'"{LABEL_KEY}" (the type) and "{NAME_KEY}" (the words as they stand in the text), in the '
    "order of the text, once for each time a name is there. Answer [] if there are none."
)

Prompt = Callable[[str, Sequence[str]], str]


class JsonPrompt:
    """Build prompts: the instruction, an empty line and the text.

    instruction (str): The instruction. A line for each label replaces "{types}".
    definitions (Mapping[str, str] | None): Label -> its definition in one line. They are added
        to the built-in definitions of corpus labels or replace them.
    RAISES (WeltError): If the instruction has no "{types}", or a definition has several lines.
    """

    def __init__(
        self,
        instruction: str = INSTRUCTION,
        definitions: Mapping[str, str] | None = None,
    ):
        if "{types}" not in instruction:
            raise WeltError(
                'The instruction has no "{types}". Insert it where the labels and their '
                "definitions go"
            )
        self.instruction = instruction
        self.definitions: dict[str, str] = {**DEFINITIONS, **(definitions or {})}
        for label, definition in self.definitions.items():
            if "\n" in definition:
                raise WeltError(
                    f"The definition of {label} has more than one line: {definition!r}"
                )

    def __call__(self, text: str, labels: Sequence[str]) -> str:
        """Build a prompt."""
        lines = []
        for label in labels:
            definition = self.definitions.get(label)
            lines.append(f"- {label}: {definition}" if definition else f"- {label}")
        return self.instruction.replace("{types}", "\n".join(lines)) + f"\n\n{text}"


def make_json_prompt(
    instruction: str = INSTRUCTION, definitions: dict[str, str] | None = None
) -> JsonPrompt:
    """Create a function that builds prompts. Registered as `welt_spacy.JsonPrompt.v1` in
    `@misc`.

    instruction (str): The instruction. A line for each label replaces "{types}".
    definitions (dict[str, str] | None): Label -> its definition in one line. They are added
        to the built-in definitions of corpus labels or replace them.
    RETURNS (JsonPrompt): Function from a text and labels to a prompt.
    RAISES (WeltError): If the instruction has no "{types}", or a definition has several lines.
    """
    return JsonPrompt(instruction, definitions)
