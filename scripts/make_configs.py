"""Write configs/*.cfg from the template of `spacy welt config`."""

from pathlib import Path

from welt_spacy.training.config import ConfigSettings, make_config
from welt_spacy.util.files import write_atomically

CONFIGS = {
    "welt": {"paper": False},
    "welt_spacy_transformers": {"paper": False, "spacy_transformers": True},
    "welt_cpu": {"encoder": "cpu"},
    # Five times as many sentences as BC5CDR has
    "welt_bio": {"encoder": "cpu", "corpus": "bio", "max_steps": 6000},
}

if __name__ == "__main__":
    for name, settings in CONFIGS.items():
        write_atomically(
            Path("configs") / f"{name}.cfg", make_config(ConfigSettings(**settings))
        )
