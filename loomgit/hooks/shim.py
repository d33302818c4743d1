"""Creates the shell scripts of Loom's Git hooks.

The scripts are plain `sh`. If no watched file has changed, they run only a few Git commands and do
not start Python.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

Hook = Literal["pre-push", "pre-commit", "commit-msg"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
SKIP_HINT = "skip the hook with LOOM_SKIP=1 or --no-verify"
MARKER = b"# loom-hook 1"
RENAMED_SUFFIX = ".before-loom"
# The arguments that make Python run Loom. Because of -P, a module in the project folder cannot
# replace a module that Loom imports. `-m loomgit` would be unsafe, because another project on PyPI
# installs files into the same folder `loomgit`.
RUN_LOOM = "-P -m loomgit_command"
WATCHED = "loom/watched"  # in the .git folder that all worktrees share
MAX_WATCHED = 1000  # maximum number of watched paths, because more may not fit on a command line
_PROJECT = re.compile(rb"^project=(.*)$", re.MULTILINE)

# Each new process takes about 2 ms, so the scripts prefer commands that are built into the shell.
# `_READ` stores the standard input, because both the renamed hook and Loom need it. The loop in
# `_READ` keeps the text unchanged, even if the final newline is missing. `. "$watched"` runs the
# file with the watched paths, which sets the arguments ($1, $2, ...) to these paths.
_HEAD = """\
#!/bin/sh
# loom-hook 1: written by `loom hooks install`; `loom hooks uninstall` restores the previous hook.
project={project}
python={python}
strict={strict}
reinstall={reinstall}
other=${{0%/*}}/{hook}{aside}
status=0
{read}
if [ -x "$other" ]; then
  {give}"$other" "$@" || status=$?
fi
[ "${{LOOM_SKIP:-}}" = 1 ] && exit "$status"
watched=.git/{watched}
[ -d .git ] || watched=$(git rev-parse --git-common-dir)/{watched} # a worktree, a submodule
quiet() {{
  # Whether no watched file differs; an error counts as a difference. The list of watched files is
  # that of the commit $seen, and valid only if these files did not change since.
  from=$1
  to=$2
  [ -r "$watched" ] || return 1
  . "$watched"
  same "$from" "$to" "$@" || return 1
  [ "$seen" = "$from" ] || [ "$seen" = "$to" ] || same "$seen" "$to" "$@"
}}
"""

_PRE_PUSH = """\
same() {
  base=$1
  head=$2
  shift 2
  git diff-tree -r --quiet "$base" "$head" -- "$@" 2>/dev/null
}
judge() {
  # Compare with the merge base of the commit and the default branch; fails if it is unknown.
  for name in $branches; do
    old=$(git merge-base "$1" "refs/remotes/$remote/$name" 2>/dev/null) || continue
    quiet "$old" "$1"
    return
  done
  return 1
}
remote=$1
touched=no
new=
while [ $touched = no ] && IFS= read -r line; do
  # `local ref, local id, remote ref, remote id`; the local ref may be a revision with spaces.
  old=${line##* }
  line=${line% *}
  line=${line% *}
  id=${line##* }
  case $id in *[!0]*) ;; *) continue ;; esac
  case $old in
    *[!0]*) quiet "$old" "$id" || touched=yes ;;
    *) new="$new $id" ;;
  esac
done <<REFS
$input
REFS
if [ $touched = no ] && [ -n "$new" ]; then
  # New refs count only if they have commits that the remote-tracking branches do not have.
  missing=$(git rev-list --max-count=1 $new --not --remotes="$remote" 2>/dev/null) || missing=all
  for id in ${missing:+$new}; do
    judge "$id" || { touched=yes && break; }
  done
fi
[ $touched = no ] && exit "$status"
"""

_COMMIT = """\
same() {
  base=$1
  shift 2
  git diff-index --cached --quiet "$base" -- "$@" 2>/dev/null
}
quiet HEAD index && exit "$status"
"""

_TAIL = """\
fail() {
  echo "loom: $1: {what} continues untested" >&2
  exit "$status"
}
[ -n "$strict" ] && fail() {
  echo "loom: $1: {what} is blocked because it cannot be tested" >&2
  exit 4
}
[ -d "$project" ] || fail "the folder $project does not exist"
if [ -x "$python" ]; then
  run() { "$python" {run_loom} "$@"; }
elif command -v loom >/dev/null; then
  run() { loom "$@"; }
else
  fail "$python does not exist (${reinstall:+$reinstall, then }loom hooks install)"
fi
{give}run hooks run $strict --project "$project" {hook} -- "$@"
case $? in
  0) exit "$status" ;;
  1)
    run --version >/dev/null 2>&1 && exit 1
    # Python without Loom also exits with 1.
    fail "Loom is not installed for $python${reinstall:+ ($reinstall)}"
    ;;
  130) exit 130 ;;
esac
fail "Loom failed"
"""
_READ = """\
input=
while IFS= read -r line; do
  input=$input$line'
'
done
input=$input$line"""
_GIVE = "printf '%s' \"$input\" | "


def script(
    hook: Hook,
    *,
    python: str,
    project: str,
    branches: Iterable[str] = (),
    strict: bool = False,
    reinstall: str = "",
) -> bytes:
    """Return the script of a hook, as bytes.

    `python` is the path of the Python interpreter. The script cannot find it in PATH, because
    desktop clients of Git do not have the PATH of the user's shell. `project` is the path of the
    project folder in the worktree. `branches` are the possible names of the remote's default
    branch; only `pre-push` uses them. If `strict` is true, a change that cannot be tested is
    blocked. `reinstall` is the command that installs Loom again, for error messages.
    """
    push = hook == "pre-push"
    head = _HEAD.format(
        hook=hook,
        project=shlex.quote(project),
        python=shlex.quote(python),
        strict="--strict" if strict else "",
        reinstall=shlex.quote(reinstall),
        aside=RENAMED_SUFFIX,
        watched=WATCHED,
        read=_READ if push else "",
        give=_GIVE if push else "",
    )
    middle = f"branches={shlex.quote(' '.join(branches))}\n{_PRE_PUSH}" if push else _COMMIT
    tail = _TAIL
    for name, text in (
        ("give", _GIVE if push else ""),
        ("hook", hook),
        ("run_loom", RUN_LOOM),
        ("what", "this push" if push else "this commit"),
    ):
        tail = tail.replace(f"{{{name}}}", text)
    return f"{head}{middle}{tail}".encode("utf-8", "surrogateescape")


def is_loom_hook(text: bytes) -> bool:
    """Return whether Loom wrote the hook file with the content `text`."""
    return MARKER in text[:200]


def project_of(text: bytes) -> str:
    """Return the project folder that a Loom hook checks, as a path in the worktree.

    `text` is the content of the hook file. The result is `.` if the file names no project.
    """
    match = _PROJECT.search(text)
    words = shlex.split(match[1].decode("utf-8", "surrogateescape")) if match else []
    return words[0] if words else "."


def watch_list(seen: str, paths: Iterable[str]) -> bytes:
    """Return the shell script that tells the hooks which paths they watch.

    The script sets `$seen` to the commit `seen`. It also sets the arguments of the shell ($1, $2,
    ...) to the pathspecs in `paths`. These paths are valid only as long as no watched file changes
    after this commit.
    """
    words = " ".join(shlex.quote(path) for path in paths)
    return f"seen={seen}\nset -- {words}\n".encode("utf-8", "surrogateescape")
