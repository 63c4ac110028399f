"""What a language model is asked."""

from collections.abc import Callable, Mapping, Sequence

from ..errors import WeltError
from .responses import NAME, TYPE

# One line a type, for those of the corpora that this package knows
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
    f'"{TYPE}" (the type) and "{NAME}" (the words as they stand in the text), in the '
    "order of the text, once for each time a name is there. Answer [] if there are none."
)

Prompt = Callable[[str, Sequence[str]], str]


class JsonPrompt:
    """Makes prompts: the instruction, an empty line, and the text.

    instruction (str): What is asked; "{types}" in it becomes a line for each label.
    definitions (Mapping[str, str] | None): Label -> what it means, in a line; beside
        those of the corpora that this package knows, or in their place.
    RAISES (WeltError): If the instruction has no "{types}", or a definition has more than
        a line.
    """

    def __init__(
        self,
        instruction: str = INSTRUCTION,
        definitions: Mapping[str, str] | None = None,
    ):
        if "{types}" not in instruction:
            raise WeltError(
                'The instruction has no "{types}", where the labels and their definitions '
                "go"
            )
        self.instruction = instruction
        self.definitions: dict[str, str] = {**DEFINITIONS, **(definitions or {})}
        for label, told in self.definitions.items():
            if "\n" in told:
                raise WeltError(
                    f"The definition of {label} has more than a line: {told!r}"
                )

    def __call__(self, text: str, labels: Sequence[str]) -> str:
        """Make a prompt.

        text (str): The text.
        labels (Sequence[str]): The labels that are asked for.
        RETURNS (str): The prompt.
        """
        told = self.definitions
        lines = [
            f"- {label}: {told[label]}" if told.get(label) else f"- {label}"
            for label in labels
        ]
        return self.instruction.replace("{types}", "\n".join(lines)) + f"\n\n{text}"


def make_json_prompt(
    instruction: str = INSTRUCTION, definitions: dict[str, str] | None = None
) -> JsonPrompt:
    """Make a function that makes prompts. Registered as `welt_spacy.JsonPrompt.v1` in
    `@misc`.

    instruction, definitions: See `JsonPrompt`.
    RETURNS (JsonPrompt): Text and labels -> the prompt.
    RAISES (WeltError): As `JsonPrompt`.
    """
    return JsonPrompt(instruction, definitions)
