"""From an artefact folder to the Hugging Face Hub: a model repository, and a Space that shows it.

Goes in: a whole artefact. Comes out: one commit with exactly its files, perhaps a tag or a pull request, and
a Space pinned to a commit. `huggingface_hub.ModelHubMixin` is not used: it would bring its client into every
`import serving`, fetch `config.json` unchecked and offer a card about PyTorch. The names, `from_pretrained`,
`save_pretrained` and `push_to_hub`, are the ecosystem's.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from serving.hub.fetch import check_repo_id, explain_errors
from serving.hub.space import build_space, list_space_files
from serving.model.artefact import CARD_FILE, FIGURES_FOLDER, ArtefactError, list_files, verify_artefact

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo, SpaceInfo

    RepoInfo = ModelInfo | SpaceInfo

# By path inside the repository: where the file lies, or its content.
Files = Mapping[str, Path | bytes]
COMMIT_TITLE = "Upload with tumor push"
# Of the commit that the Hub itself makes a repository with, perhaps with an empty card.
INITIAL_TITLE = "initial commit"
# What the card of an artefact on disk loads; on the Hub it loads the repository.
LOCAL_SNIPPET = 'from_pretrained(".")'


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        repo_id: `user/name`.
        commit: that holds what was pushed.
        is_new: False where the Hub held the very same already.
        url: of the repository, or of the pull request.
        kept_card: the card on the Hub was edited there and kept.

    Example:
        >>> push_artefact(Path("runs/today/artefact"), "user/model", tag="v1").url  # doctest: +SKIP
        'https://huggingface.co/user/model'
    """

    repo_id: str
    commit: str
    is_new: bool
    url: str
    kept_card: bool = False


def push_artefact(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    overwrite_card: bool = False,
) -> Pushed:
    """Publish an artefact as a model repository in one commit, or in none where the Hub holds the same.

    A card that was edited on the Hub is kept. Figures of an earlier artefact are removed; files that are none
    of an artefact's stay.

    Args:
        folder: a whole artefact.
        repo_id: `user/name`; made where it does not exist.
        private: for a new repository; one that is public is then refused.
        tag: also name the commit, for good: a tag that names another commit is not moved.
        create_pr: propose the commit in a pull request instead.
        overwrite_card: replace a card that was edited on the Hub.

    Raises:
        ArtefactError: the artefact is incomplete or damaged, or the Hub refused or could not be reached.
    """
    from huggingface_hub import HfApi

    if tag is not None and create_pr:
        reason = "A tag names a commit of main, which a pull request has yet to become"
        raise ArtefactError(f"{reason}. Leave out one of --tag and --create-pr.")
    verify_artefact(folder)
    api = HfApi()
    with explain_errors(repo_id, "published"):
        info = _open_repo(api, repo_id, "model", private)
        tagged = _find_tag(api, info, tag)
        local: dict[str, Path | bytes] = {name: folder / name for name in list_files(folder)}
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
        card = text.replace(LOCAL_SNIPPET, f"from_pretrained({json.dumps(repo_id)})").encode()
        local[CARD_FILE] = card
        kept_card = not overwrite_card and _is_card_edited(api, repo_id, card)
        if kept_card:
            del local[CARD_FILE]
        pushed = _commit(api, info, local, f"{FIGURES_FOLDER}/*.png", create_pr)
        if tag is not None and tagged is None:
            api.create_tag(repo_id, tag=tag, revision=pushed.commit)
        elif tagged not in (None, pushed.commit):
            problem = f"the tag {tag} names {tagged} and is not moved. Choose another tag"
            raise ArtefactError(f"Published as commit {pushed.commit}, but {problem}.")
    return replace(pushed, kept_card=kept_card)


def push_space(space_id: str, model_id: str, revision: str, private: bool = False) -> Pushed:
    """Create or update a Space that shows a model; edits to its generated files on the Hub are lost.

    Args:
        space_id: `user/name`; made where it does not exist.
        model_id: Hub repository of the model.
        revision: commit of the model.
        private: for a new Space; one that is public is then refused.

    Raises:
        ArtefactError: the Hub refused or could not be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with explain_errors(space_id, "published"), tempfile.TemporaryDirectory() as scratch:
        info = _open_repo(api, space_id, "space", private)
        is_private = bool(api.model_info(model_id).private)
        folder = build_space(Path(scratch, "space"), model_id, revision, is_private)
        return _commit(api, info, list_space_files(folder), "serving/*")


def save_space(folder: Path, model_id: str, revision: str | None = None) -> str:
    """Write the folder of a Space, to look at it or to run it here; all of it or nothing.

    Args:
        folder: new or empty.
        model_id: Hub repository of the model.
        revision: branch, tag or commit of the model.

    Returns:
        The commit that the Space is pinned to.

    Raises:
        ArtefactError: no such model, the Hub cannot be reached, or the folder cannot be used.
    """
    from huggingface_hub import HfApi, constants

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtefactError(f"{folder} is there already. Name a new folder.")
    check_repo_id(model_id)
    with explain_errors(f"{model_id} at {revision or 'main'}", "shown"):
        info = HfApi().model_info(model_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".space.", dir=folder) as scratch:
            built = build_space(Path(scratch, "space"), model_id, str(info.sha), bool(info.private))
            for path in built.iterdir():
                path.rename(folder / path.name)
    return str(info.sha)


def _open_repo(api: "HfApi", repo_id: str, repo_type: str, private: bool) -> "RepoInfo":
    """Find a repository, or make it; one that should be private and is public is refused."""
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError

    check_repo_id(repo_id)
    # Asked for first: the client puts no time limit on making one, nor tells that one is there and public.
    try:
        info = api.repo_info(repo_id, repo_type=repo_type, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except RepositoryNotFoundError:
        sdk = "gradio" if repo_type == "space" else None
        api.create_repo(repo_id, repo_type=repo_type, space_sdk=sdk, private=private or None, exist_ok=True)
        info = api.repo_info(repo_id, repo_type=repo_type)
    if private and not info.private:
        remedy = "Make it private in its settings, or leave out --private"
        raise ArtefactError(f"{repo_id} is there already and public. {remedy}.")
    return cast("RepoInfo", info)


def _commit(api: "HfApi", info: "RepoInfo", local: Files, own: str, create_pr: bool = False) -> Pushed:
    """Commit files, and remove those on the Hub that match the pattern `own` and are not among them."""
    # Not `upload_folder`, which commits several times where it uploads by Xet.
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, SpaceInfo

    remote = [file.rfilename for file in info.siblings or ()]
    stale = [CommitOperationDelete(name) for name in remote if fnmatchcase(name, own) and name not in local]
    added = [CommitOperationAdd(name, local[name]) for name in sorted(local)]
    kind, prefix = ("space", "spaces/") if isinstance(info, SpaceInfo) else ("model", "")
    options: dict[str, Any] = {"repo_type": kind, "create_pr": create_pr, "parent_commit": info.sha}
    done = api.create_commit(info.id, [*stale, *added], commit_message=COMMIT_TITLE, **options)
    url = done.pr_url or f"{api.endpoint}/{prefix}{info.id}"
    return Pushed(info.id, done.oid, done.oid != info.sha, url)


def _is_card_edited(api: "HfApi", repo_id: str, card: bytes) -> bool:
    """Whether the card on the Hub is another, and its last commit is neither ours nor the Hub's first."""
    from huggingface_hub import RepoFile
    from huggingface_hub.utils.sha import git_hash

    for file in api.get_paths_info(repo_id, [CARD_FILE], expand=True):
        assert isinstance(file, RepoFile)
        title = file.last_commit.title if file.last_commit is not None else ""
        return not title.startswith((COMMIT_TITLE, INITIAL_TITLE)) and file.blob_id != git_hash(card)
    return False


def _find_tag(api: "HfApi", info: "RepoInfo", tag: str | None) -> str | None:
    """The commit that a tag names already; asked before the upload, since only the newest may have it."""
    if tag is None:
        return None
    found = next((ref.target_commit for ref in api.list_repo_refs(info.id).tags if ref.name == tag), None)
    if found not in (None, info.sha):
        problem = f"The tag {tag} of {info.id} names commit {found}, and a tag is not moved"
        raise ArtefactError(f"{problem}. Choose another. Nothing was published.")
    return found
