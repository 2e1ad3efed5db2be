"""Policy files as they were at a git revision, read from the repository that holds them.

git is asked for bytes by their hash and nothing else: no filter of the repository runs, a revision
is never read as an option, and what a policy includes is taken from the same revision.
"""

import os
import posixpath
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from turnout.dsl.include import Load, NotLoaded
from turnout.dsl.nearest import suggestion
from turnout.dsl.source import Source
from turnout.engine.include import MAX_BYTES

from .dispatch import CommandError
from .report import printable

_PATIENCE_S = 30
_LINK, _FOLDER, _MODULE = "120000", "tree", "commit"
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")  # names that no shell takes apart
_TOO_LARGE = f"is larger than {MAX_BYTES // 1024 // 1024} MiB"


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit by its hash, under the name it was asked for, and a folder of its repository.

    `folder` is the folder as the user's file system has it; `prefix` the same inside the commit.
    """

    name: str
    commit: str
    folder: Path
    prefix: str

    def read(self, file: str) -> tuple[Source, Load]:
        """A policy file of this folder at the revision, and what reads the files it includes.

        Raises: CommandError.
        """
        try:
            text = self._text(file)
        except FileNotFoundError:
            shown = printable(str(self.folder / file))
            raise CommandError(
                f"there is no file `{shown}` at the revision `{printable(self.name)}`",
                help=self._close_to(file),
            ) from None
        except NotLoaded as error:
            raise CommandError(printable(error.message), help=error.help) from None

        def load(path: str) -> Source:
            at = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
            try:
                return Source(self._shown(at), self._text(at))
            except FileNotFoundError:
                raise NotLoaded(
                    f"there is no file `{self.folder / at}` at the revision `{self.name}`",
                    self._close_to(at),
                ) from None

        return Source(self._shown(file), text), load

    def _shown(self, file: str) -> str:
        """A file as the user would write it, at the revision."""
        return f"{self.name}:{self.folder / file}"

    def _text(self, file: str) -> str:
        """The text of a file. Raises: FileNotFoundError, NotLoaded."""
        path = posixpath.normpath(self.prefix + file)
        told = _git(self.folder, "ls-tree", "-z", "-l", "--full-tree", self.commit, "--", path)
        rows = [row for row in told.decode(errors="replace").split("\0") if row]
        row = next((row for row in rows if row.partition("\t")[2] == path), None)
        if row is None:
            raise FileNotFoundError(path)
        mode, kind, blob, size = row.partition("\t")[0].split()
        shown = f"`{self._shown(file)}`"
        if mode == _LINK:
            raise NotLoaded(f"{shown} is a link", "put a file there, not a link")
        if kind in (_FOLDER, _MODULE):
            raise NotLoaded(f"{shown} is no file", "name a file")
        if int(size) > MAX_BYTES:
            raise NotLoaded(f"{shown} {_TOO_LARGE}", "split it")
        data = _git(self.folder, "cat-file", "blob", blob)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"{shown} is not UTF-8 text (byte {error.start + 1})"
            raise NotLoaded(message, "save the file as UTF-8") from None

    def _close_to(self, file: str) -> str | None:
        """A did-you-mean from the policy files of the same folder at the revision."""
        folder = posixpath.dirname(posixpath.normpath(self.prefix + file))
        where = f"{self.commit}:{folder}" if folder else self.commit
        try:
            told = _git(self.folder, "ls-tree", "-z", "--name-only", "--full-tree", where)
        except CommandError:
            return None
        names = [name for name in told.decode(errors="replace").split("\0") if name]
        known = [name for name in names if name.endswith((".yml", ".yaml"))]
        found = suggestion(posixpath.basename(file), known)
        return None if found is None else printable(found)


def is_revision(word: str, folder: Path) -> bool:
    """Whether git knows a word as a revision; not where there is no git or no repository."""
    try:
        return _commit(word, folder) is not None
    except CommandError:
        return False


def revision(word: str, folder: Path) -> Revision:
    """The revision of a name in the repository around a folder. Raises: CommandError."""
    shown = printable(word)
    if not folder.is_dir():
        raise CommandError(f"there is no folder `{printable(str(folder))}`")
    prefix = _git(folder, "rev-parse", "--show-prefix", shown_as=shown)
    commit = _commit(word, folder)
    if commit is None:
        raise CommandError(
            f"`{shown}` is neither a file nor a revision that git knows",
            help=_how_to_get(word, folder),
        )
    return Revision(word, commit, folder, prefix.decode(errors="surrogateescape").rstrip("\n"))


def _how_to_get(word: str, folder: Path) -> str:
    """What to do about a revision that is not there: clones of CI have one commit of one branch."""
    remotes = _git(folder, "remote").decode(errors="replace").split()
    is_shallow = _git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true"
    depth = "--depth 1 " if is_shallow else ""
    first, _, rest = word.partition("/")
    remote, branch = (first, rest) if first in remotes else (next(iter(remotes), ""), word)
    is_branch = _BRANCH.fullmatch(branch) is not None and branch != "HEAD"
    fetch = f"`git fetch {depth}{remote} {branch}:refs/remotes/{remote}/{branch}`"
    if is_branch and _BRANCH.fullmatch(remote):
        if remote == first:
            return f"if it is a branch of `{remote}`, {fetch} brings it here"
        if is_shallow:
            return f"this clone is shallow: {fetch} brings `{remote}/{branch}` here"
    if is_shallow:
        return "this clone is shallow: `git fetch --unshallow` brings its history here"
    return "name a branch, a tag or a commit, such as `main` or `HEAD~1`, or a policy file"


def _commit(word: str, folder: Path) -> str | None:
    if word.startswith("-") or "\0" in word:
        return None
    ran = _run(
        folder, ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{commit}}")
    )
    told = ran.stdout.decode("ascii", errors="replace").strip()
    return told if ran.returncode == 0 and told else None


def _git(folder: Path, *words: str, shown_as: str | None = None) -> bytes:
    """What git prints. Raises: CommandError."""
    ran = _run(folder, words)
    if ran.returncode == 0:
        return ran.stdout
    said = ran.stderr.decode(errors="replace").strip().partition("\n")[0]
    if "not a git repository" in said:
        asked = "" if shown_as is None else f", so `{shown_as}` cannot be a revision"
        raise CommandError(
            f"`{printable(str(folder))}` is in no git repository{asked}",
            help="name two files, such as `policy diff old.yml new.yml`",
        )
    raise CommandError(f"git failed: {printable(said.removeprefix('fatal: ')) or 'no message'}")


def _run(folder: Path, words: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
    }
    try:
        return subprocess.run(
            ["git", "--no-pager", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(
            "git is not installed, so there are no revisions",
            help="name two files, such as `policy diff old.yml new.yml`",
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"git did not answer within {_PATIENCE_S} seconds") from None
    except OSError as error:
        raise CommandError(f"git cannot be run: {(error.strerror or str(error)).lower()}") from None
