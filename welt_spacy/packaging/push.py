"""Push packaged pipelines to the model hub, in the layout of spaCy's own pipelines there.

The root of a repository has the files of the pipeline, so that `spacy.load` can load a
snapshot of it, a model card, and the wheel, which pip can install from its address.
"""

import re
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import srsly

from ..errors import WeltError, extra_needed, first_line
from ..util.output_folder import replace_folder
from .model_card import make_hub_metadata

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---\s*\n", re.DOTALL)


@dataclass(frozen=True)
class Package:
    """A wheel with a pipeline.

    path (Path): The wheel.
    root (str): The folder of the pipeline in the wheel, with a slash at the end.
    meta (dict[str, Any]): The meta of the pipeline.
    """

    path: Path
    root: str
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the package, e.g. "en_welt_bc5cdr"."""
        return f"{self.meta['lang']}_{self.meta['name']}"


def read_package(path: Path) -> Package:
    """Read the meta of a wheel of `spacy welt package` or `spacy package`."""
    try:
        with zipfile.ZipFile(path) as wheel:
            metas = [
                name
                for name in wheel.namelist()
                if re.fullmatch(r"(\w+)/\1-[^/]+/meta\.json", name)
            ]
            if len(metas) != 1 or not path.name.endswith(".whl"):
                raise WeltError(
                    f"{path}: not the wheel of a pipeline. Make one with 'spacy welt "
                    "package'"
                )
            meta = srsly.json_loads(wheel.read(metas[0]).decode("utf8"))
            missing = [key for key in ("lang", "name", "version") if key not in meta]
            if missing:
                raise WeltError(f"{path}: {metas[0]} has no {missing[0]!r}")
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as err:
        if isinstance(err, WeltError):
            raise
        raise WeltError(f"{path}: not a wheel: {first_line(err)}") from None
    return Package(path, metas[0].removesuffix("meta.json"), meta)


def write_repository(
    package: Package, output: Path, *, address: str | None = None
) -> None:
    """Write the files of a repository on the hub."""

    def refuse(path: Path) -> None:
        raise WeltError(f"{output} exists already. Use another name")

    with replace_folder(output, refuse) as folder:
        try:
            with zipfile.ZipFile(package.path) as wheel:
                for member in wheel.infolist():
                    if member.filename.startswith(package.root) and not member.is_dir():
                        # extract() removes "..", drives and leading slashes
                        member.filename = member.filename[len(package.root) :]
                        wheel.extract(member, folder)
        except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as err:
            reason = first_line(err)
            raise WeltError(f"{package.path}: damaged wheel: {reason}") from None
        for name in get_wheel_names(package):
            shutil.copyfile(package.path, folder / name)
        card = make_hub_card(package, folder / "README.md", address)
        (folder / "README.md").write_text(card, encoding="utf8")


def get_wheel_names(package: Package) -> tuple[str, str]:
    """Return the names of the two copies of the wheel in a repository: with the version, which
    pip requires today, and with "any", as in older pipelines of spaCy. The hub stores equal
    files once.
    """
    end = "py3-none-any.whl"
    return (
        f"{package.name}-{package.meta['version']}-{end}",
        f"{package.name}-any-{end}",
    )


def make_hub_card(package: Package, readme: Path, address: str | None = None) -> str:
    """Return the model card of a repository: the README of the package after one block of
    metadata.
    """
    text = readme.read_text(encoding="utf8") if readme.is_file() else ""
    text = _FRONT_MATTER.sub("", text).strip()
    if not text:
        text = f"# {package.name}\n\n{package.meta.get('description', '')}".strip()
    wheel, _ = get_wheel_names(package)
    line = f"pip install {wheel}"
    if address is not None:
        install = f"pip install {address}/{wheel}"
        if line in text:
            text = text.replace(line, install)
        else:
            text += f"\n\n## Install\n\n```bash\n{install}\n```"
    return f"{make_hub_metadata(package.meta)}\n{text}\n"


def push(
    path: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Create or update a repository on the model hub, or on the one whose address is in
    HF_ENDPOINT.

    path (Path): The wheel of the pipeline.
    repo (str): The repository, ORG/NAME.
    private (bool): Whether a new repository is private.
    revision (str | None): The branch to push to, which is created if it does not exist; the
        main branch if not set.
    token (str | None): The access token; that of `hf auth login` or HF_TOKEN if not set.
    RETURNS (str): The address of the commit.
    RAISES (WeltError): If huggingface_hub is missing, the wheel has no pipeline, or the hub
        can't be reached or refuses.
    """
    check_repo(repo)
    package = read_package(path)
    with extra_needed("spacy welt push", "hub"):
        import huggingface_hub as hub
    api = hub.HfApi(token=token)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "repository"
        address = f"{api.endpoint}/{repo}/resolve/{revision or 'main'}"
        write_repository(package, folder, address=address)
        # Validate the card as the hub does, before anything is created there
        hub.ModelCard((folder / "README.md").read_text(encoding="utf8"))
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=f"Update to {package.name} {package.meta['version']}",
                revision=revision,
            )
        except Exception as err:
            # The errors of requests, httpx and the hub have no common class
            raise WeltError(
                f"{repo}: the hub at {api.endpoint} refused: {first_line(err)}. "
                "Nothing else was changed; try again, or see 'hf auth login'."
            ) from None
    return str(getattr(commit, "commit_url", commit))


def check_repo(repo: str) -> None:
    """Raise an error if the name of a repository is not of the form ORG/NAME."""
    if not _REPO.fullmatch(repo):
        raise WeltError(f"{repo!r}: not the name of a repository. Use ORG/NAME")
