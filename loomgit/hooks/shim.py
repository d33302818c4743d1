"""The hook scripts that are written into a repository: plain `sh`, so that a push which touches
nothing of ours costs no more than a `git diff --quiet`."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

Hook = Literal["pre-push", "pre-commit", "commit-msg"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
MARK = b"# loom-hook 1"
ASIDE = ".before-loom"
# Python's arguments to run Loom. -P: a module in the project's folder must not replace one that
# Loom imports. Not the package: another project's loomgit/__init__.py may be there.
RUN_LOOM = "-P -m loomgit_command"
WATCHED = "loom/watched"  # in the common .git folder, read by the hooks
MOST_WATCHED = 1000  # paths, so that they fit on a command line; more are the whole project
_PROJECT = re.compile(rb"^project=(.*)$", re.MULTILINE)

# Every process takes two milliseconds: so `read` takes the input (byte for byte, with or without a
# final newline: the other hook gets the same), and `.` makes the watched paths arguments.
_HEAD = """\
#!/bin/sh
# loom-hook 1: written by `loom hooks install`; `loom hooks uninstall` puts back what was here.
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
  # Whether nothing that is watched differs; what cannot be told counts as a difference. What is
  # watched was found in the commit $seen: it still is where that one does not differ either.
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
  one=$1
  two=$2
  shift 2
  git diff-tree -r --quiet "$one" "$two" -- "$@" 2>/dev/null
}
judge() {
  # Where a commit left what the remote has; nothing where that is not known.
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
  # `local ref, its id, remote ref, its id there`; the first may be a revision with spaces.
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
  # Of new refs those count that bring commits which the remote, as it was last seen, has not.
  lacks=$(git rev-list --max-count=1 $new --not --remotes="$remote" 2>/dev/null) || lacks=all
  for id in ${lacks:+$new}; do
    judge "$id" || { touched=yes && break; }
  done
fi
[ $touched = no ] && exit "$status"
"""

_COMMIT = """\
same() {
  one=$1
  shift 2
  git diff-index --cached --quiet "$one" -- "$@" 2>/dev/null
}
quiet HEAD index && exit "$status"
"""

_TAIL = """\
lost() {
  echo "loom: $1: {what} goes on untested" >&2
  exit "$status"
}
[ -n "$strict" ] && lost() {
  echo "loom: $1: {what} is stopped, since it cannot be tested" >&2
  exit 4
}
[ -d "$project" ] || lost "there is no folder $project here"
if [ -x "$python" ]; then
  run() { "$python" {run_loom} "$@"; }
elif command -v loom >/dev/null; then
  run() { loom "$@"; }
else
  lost "$python is gone (${reinstall:+$reinstall, then }loom hooks install)"
fi
{give}run hooks run $strict --project "$project" {hook} -- "$@"
case $? in
  0) exit "$status" ;;
  1)
    run --version >/dev/null 2>&1 && exit 1
    # Python without Loom fails with 1 too.
    lost "Loom is not installed for $python${reinstall:+ ($reinstall)}"
    ;;
  130) exit 130 ;;
esac
lost "Loom failed"
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
    """The text of a hook. `python` is the interpreter to use (a desktop client lacks the shell's
    PATH), `project` the project's folder in the worktree, `branches` are what the default branch
    may be called at a remote, `reinstall` the command that installs Loom again."""
    push = hook == "pre-push"
    head = _HEAD.format(
        hook=hook,
        project=shlex.quote(project),
        python=shlex.quote(python),
        strict="--strict" if strict else "",
        reinstall=shlex.quote(reinstall),
        aside=ASIDE,
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


def is_ours(text: bytes) -> bool:
    """Whether a hook file was written by us."""
    return MARK in text[:200]


def project_of(text: bytes) -> str:
    """The project that a hook of ours guards: its folder in the worktree."""
    found = _PROJECT.search(text)
    words = shlex.split(found[1].decode("utf-8", "surrogateescape")) if found else []
    return words[0] if words else "."


def watch_list(seen: str, paths: Iterable[str]) -> bytes:
    """The file that hooks read: the commit in which the pathspecs were found, and these."""
    words = " ".join(shlex.quote(path) for path in paths)
    return f"seen={seen}\nset -- {words}\n".encode("utf-8", "surrogateescape")
