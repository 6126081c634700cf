"""From an artefact folder to the Hugging Face Hub: a model repository, and a Space that shows it.

Goes in: a whole artefact. Comes out: one commit with exactly its files, perhaps a tag or a pull request, and
a Space pinned to a commit. `huggingface_hub.ModelHubMixin` is not used: it would bring its client into every
`import serving`, fetch `config.json` unchecked and offer a card about PyTorch. The names, `from_pretrained`,
`save_pretrained` and `push_to_hub`, are the ecosystem's.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from serving.hub.fetch import check_repo_id, explain_errors
from serving.hub.space import build_space, list_space_files
from serving.model.artefact import CARD_FILE, FIGURES_FOLDER, ArtefactError, list_files, verify_artefact

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo, SpaceInfo

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
    """Publish an artefact as a model repository, all in one commit; what the Hub holds already is not committed again.

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
        raise ArtefactError(
            "A tag names a commit of main, which a pull request has yet to become. Leave out one of --tag and"
            " --create-pr."
        )
    verify_artefact(folder)
    api = HfApi()
    with explain_errors(repo_id, "published"), tempfile.TemporaryDirectory() as scratch:
        info = _open_repo(api, repo_id, "model", private)
        tagged = _find_tag(api, info, tag)
        local = {name: folder / name for name in list_files(folder)}
        local[CARD_FILE] = _write_hub_card(folder / CARD_FILE, repo_id, Path(scratch))
        kept_card = not overwrite_card and _is_card_edited(api, repo_id, local[CARD_FILE])
        if kept_card:
            del local[CARD_FILE]
        pushed = _commit(
            api,
            info,
            local,
            lambda name: name.startswith(f"{FIGURES_FOLDER}/") and name.endswith(".png"),
            create_pr,
        )
        if tag is not None and tagged is None:
            api.create_tag(repo_id, tag=tag, revision=pushed.commit)
        elif tag is not None and tagged != pushed.commit:
            raise ArtefactError(
                f"Published as commit {pushed.commit}, but the tag {tag} names {tagged} and is not moved."
                " Choose another tag."
            )
    return Pushed(repo_id, pushed.commit, pushed.is_new, pushed.url, kept_card)


def push_space(space_id: str, model_id: str, revision: str, private: bool = False) -> Pushed:
    """Create or update a Space that shows a model; its files are generated, so that edits to them on the Hub are lost.

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
        folder = build_space(
            Path(scratch) / "space", model_id, revision, is_private=bool(api.model_info(model_id).private)
        )
        return _commit(api, info, list_space_files(folder), lambda name: name.startswith("serving/"))


def save_space(folder: Path, model_id: str, revision: str | None = None) -> str:
    """Write the folder of a Space, to look at it or to run it here.

    Args:
        folder: new or empty.
        model_id: Hub repository of the model.
        revision: branch, tag or commit of the model.

    Returns:
        The commit that the Space is pinned to.

    Raises:
        ArtefactError: there is no such model, the Hub cannot be reached, or the folder holds something or
            cannot be written.
    """
    from huggingface_hub import HfApi, constants

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtefactError(f"{folder} is there already. Name a new folder.")
    check_repo_id(model_id)
    with explain_errors(f"{model_id} at {revision or 'main'}", "shown"):
        info = HfApi().model_info(model_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        build_space(folder, model_id, str(info.sha), bool(info.private))
    return str(info.sha)


def _open_repo(api: "HfApi", repo_id: str, repo_type: str, private: bool) -> "ModelInfo | SpaceInfo":
    """Find a repository, or make it.

    Asked for first, because the client puts no time limit on making one, and because it says nothing where
    one that should be private is there and public.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError

    check_repo_id(repo_id)
    try:
        info = api.repo_info(repo_id, repo_type=repo_type, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except RepositoryNotFoundError:
        api.create_repo(
            repo_id,
            repo_type=repo_type,
            space_sdk="gradio" if repo_type == "space" else None,
            private=private or None,
            exist_ok=True,
        )
        info = api.repo_info(repo_id, repo_type=repo_type)
    if private and not info.private:
        raise ArtefactError(
            f"{repo_id} is there already and public; --private is for new ones. Make it private in its"
            " settings, or leave it out."
        )
    return cast("ModelInfo | SpaceInfo", info)


def _commit(
    api: "HfApi",
    info: "ModelInfo | SpaceInfo",
    local: Mapping[str, Path],
    is_own: Callable[[str], bool],
    create_pr: bool = False,
) -> Pushed:
    """Commit files, and the removal of those on the Hub that are our own but no longer there.

    Not `upload_folder`, which commits several times where it uploads by Xet.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, SpaceInfo

    remote = [file.rfilename for file in info.siblings or ()]
    stale = [CommitOperationDelete(name) for name in remote if is_own(name) and name not in local]
    added = [CommitOperationAdd(name, path) for name, path in sorted(local.items())]
    repo_type = "space" if isinstance(info, SpaceInfo) else "model"
    done = api.create_commit(
        info.id,
        [*stale, *added],
        commit_message=COMMIT_TITLE,
        repo_type=repo_type,
        create_pr=create_pr,
        parent_commit=info.sha,
    )
    home = f"{api.endpoint}/{'spaces/' if repo_type == 'space' else ''}{info.id}"
    return Pushed(info.id, done.oid, done.oid != info.sha, done.pr_url or home)


def _write_hub_card(card: Path, repo_id: str, folder: Path) -> Path:
    """The card as it stands on the Hub: its example loads the repository."""
    copy = folder / CARD_FILE
    copy.write_text(
        card.read_text(encoding="utf-8").replace(LOCAL_SNIPPET, f"from_pretrained({json.dumps(repo_id)})"),
        encoding="utf-8",
    )
    return copy


def _is_card_edited(api: "HfApi", repo_id: str, card: Path) -> bool:
    """Whether the card on the Hub is another, and was last touched by a person: neither by us nor by the making of the repository."""
    from huggingface_hub import RepoFile
    from huggingface_hub.utils.sha import git_hash

    for file in api.get_paths_info(repo_id, [CARD_FILE], expand=True):
        assert isinstance(file, RepoFile)
        is_generated = file.last_commit is not None and file.last_commit.title.startswith(
            (COMMIT_TITLE, INITIAL_TITLE)
        )
        return not is_generated and file.blob_id != git_hash(card.read_bytes())
    return False


def _find_tag(api: "HfApi", info: "ModelInfo | SpaceInfo", tag: str | None) -> str | None:
    """The commit that a tag names already; asked before anything is uploaded, since only the newest may be named again."""
    if tag is None:
        return None
    found = next((ref.target_commit for ref in api.list_repo_refs(info.id).tags if ref.name == tag), None)
    if found not in (None, info.sha):
        raise ArtefactError(
            f"The tag {tag} of {info.id} names commit {found}, and a tag is not moved. Choose another."
            " Nothing was published."
        )
    return found
