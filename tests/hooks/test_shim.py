"""The hook scripts, run for real: with every shell that is here, and a stand-in for Python that
notes how it was called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from loomgit.hooks.shim import HOOKS, is_loom_hook, project_of, script, watch_list
from tests.repos import CLEAN, commit, git, make

FOUND = {n: shutil.which(n) for n in ("sh", "dash", "bash", "busybox", "mksh")}
SHELLS = list({os.path.realpath(path): name for name, path in FOUND.items() if path}.values())
ZERO = "0" * 40
NASTY = 'it\'s a "project" $HOME `x` (1)'
STAND_IN = """\
#!/bin/sh
# Plays `python -P -m loomgit_command`: notes its arguments and its input, exits with $CODE.
[ "$4" = --version ] && exit "${VERSION_CODE:-0}"
printf '%s\\n' "$*" >>"$NOTES/calls"
cat >>"$NOTES/input"
exit "${CODE:-0}"
"""


class Hooked:
    """A repository with one of our hooks, called as Git calls it."""

    def __init__(self, root: Path, notes: Path) -> None:
        self.root = root
        self.notes = notes
        self.notes.mkdir()
        self.folder = root / ".git/hooks"
        self.folder.mkdir(exist_ok=True)
        self.python = notes / "stand in"
        self.write(self.python, STAND_IN)
        self.stdin = b""

    def write(self, path: Path, text: str, mode: int = 0o755) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def install(self, hook: str, **options) -> None:
        given = {"python": str(self.python), "project": ".", "branches": ["main"], **options}
        path = self.folder / hook
        path.write_bytes(script(hook, **given))
        path.chmod(0o755)

    def watch(self, *paths: str, seen: str = "HEAD") -> None:
        file = self.root / ".git/loom/watched"
        file.parent.mkdir(exist_ok=True)
        at = git(self.root, "rev-parse", seen)
        file.write_bytes(watch_list(at, [f":(top,literal){path}" for path in paths]))

    def run(self, hook: str, *arguments: str, stdin: bytes = b"", shell: str = "sh", **variables):
        words = [shell, "sh"] if shell == "busybox" else [shell]
        return subprocess.run(
            [*words, f".git/hooks/{hook}", *arguments],
            cwd=self.root,
            env={**os.environ, **CLEAN, "NOTES": str(self.notes), **variables},
            input=stdin,
            capture_output=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        file = self.notes / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def input(self) -> bytes:
        return (self.notes / "input").read_bytes()


@pytest.fixture
def hooked(tmp_path):
    root = make(tmp_path / "a project")
    commit(root, {"prompts/a.txt": "one\n", "src/code.py": "1\n"}, "Begin")
    return Hooked(root, tmp_path / "notes")


def line(old: str, new: str, ref: str = "refs/heads/main") -> bytes:
    return f"{ref} {new} {ref} {old}\n".encode()


@pytest.mark.parametrize("shell", SHELLS)
def test_python_is_not_started_where_nothing_watched_differs(hooked, shell):
    hooked.install("pre-push")
    hooked.watch("prompts", "context")
    one = git(hooked.root, "rev-parse", "HEAD")
    two = commit(hooked.root, {"src/code.py": "2\n"})
    done = hooked.run("pre-push", "origin", "url", stdin=line(one, two), shell=shell)
    assert (done.returncode, done.stderr, hooked.calls) == (0, b"", [])
    three = commit(hooked.root, {"prompts/a.txt": "two\n"})
    done = hooked.run("pre-push", "origin", "url", stdin=line(two, three), shell=shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hooked.calls == ["-P -m loomgit_command hooks run --project . pre-push -- origin url"]


def test_a_watch_list_of_another_content_is_not_trusted(hooked):
    """Somebody else's commit made a data set matter: the list does not know it yet."""
    hooked.install("pre-push")
    hooked.watch("prompts")
    theirs = commit(hooked.root, {"prompts/a.txt": "asks for data/new.csv\n"})
    mine = commit(hooked.root, {"data/new.csv": "changed\n"})
    hooked.run("pre-push", "origin", "url", stdin=line(theirs, mine))
    assert len(hooked.calls) == 1
    hooked.watch("prompts", "data/new.csv", seen=theirs)
    later = commit(hooked.root, {"src/code.py": "3\n"})
    hooked.run("pre-push", "origin", "url", stdin=line(mine, later))
    assert len(hooked.calls) == 2  # the list is of `theirs`, and data/new.csv differs from that
    hooked.watch("prompts", "data/new.csv", seen=mine)
    hooked.run("pre-push", "origin", "url", stdin=line(mine, later))
    assert len(hooked.calls) == 2


@pytest.mark.parametrize("lost", ["no list", "a list of a commit that is gone"])
def test_what_cannot_be_told_counts_as_a_difference(hooked, lost):
    hooked.install("pre-push")
    one = git(hooked.root, "rev-parse", "HEAD")
    two = commit(hooked.root, {"src/code.py": "2\n"})
    if lost != "no list":
        hooked.watch("prompts")
        file = hooked.root / ".git/loom/watched"
        file.write_bytes(watch_list("1" * 40, [":(top,literal)prompts"]))
    hooked.run("pre-push", "origin", "url", stdin=line(one, two))
    assert len(hooked.calls) == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_each_ref_of_a_push_is_looked_at(hooked, shell):
    hooked.install("pre-push")
    hooked.watch("prompts")
    one = git(hooked.root, "rev-parse", "HEAD")
    two = commit(hooked.root, {"src/code.py": "2\n"})
    three = commit(hooked.root, {"prompts/a.txt": "two\n"})
    quiet, loud = line(one, two, "refs/heads/a"), line(two, three, "refs/heads/b")
    hooked.run("pre-push", "origin", "url", stdin=quiet + quiet, shell=shell)
    assert hooked.calls == []
    hooked.run("pre-push", "origin", "url", stdin=loud + quiet, shell=shell)
    hooked.run("pre-push", "origin", "url", stdin=quiet + loud, shell=shell)
    assert len(hooked.calls) == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_deletions_need_no_looking_at(hooked, shell):
    hooked.install("pre-push")
    old = git(hooked.root, "rev-parse", "HEAD")
    gone = f"(delete) {ZERO} refs/heads/gone {old}\n".encode()
    assert hooked.run("pre-push", "origin", "url", stdin=gone, shell=shell).returncode == 0
    assert hooked.calls == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_revision_with_spaces_is_read_from_the_right(hooked, shell):
    hooked.install("pre-push")
    hooked.watch("prompts")
    one = git(hooked.root, "rev-parse", "HEAD")
    two = commit(hooked.root, {"prompts/a.txt": "two\n"})
    said = f"HEAD^{{/a commit with \\ words}} {two} refs/heads/main {one}\n".encode()
    hooked.run("pre-push", "origin", "url", stdin=said, shell=shell)
    assert len(hooked.calls) == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_a_new_ref_is_compared_with_where_it_left_the_remote(hooked, shell):
    hooked.install("pre-push")
    hooked.watch("prompts")
    git(hooked.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    new = line(ZERO, commit(hooked.root, {"src/code.py": "2\n"}))
    hooked.run("pre-push", "origin", "url", stdin=new, shell=shell)
    assert hooked.calls == []
    hooked.run("pre-push", "elsewhere", "url", stdin=new, shell=shell)
    assert len(hooked.calls) == 1  # nothing is known of that one
    newer = line(ZERO, commit(hooked.root, {"prompts/a.txt": "2\n"}), "refs/heads/b")
    hooked.run("pre-push", "origin", "url", stdin=new + newer, shell=shell)
    assert len(hooked.calls) == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_refs_to_what_the_remote_has_cost_one_look(hooked, shell):
    hooked.install("pre-push")
    tags = b""
    for number in range(30):
        tags += line(ZERO, git(hooked.root, "rev-parse", "HEAD"), f"refs/tags/v{number}")
        commit(hooked.root, {"prompts/a.txt": f"{number}\n"})
    git(hooked.root, "update-ref", "refs/remotes/origin/feature", "HEAD")
    hooked.run("pre-push", "origin", "url", stdin=tags, shell=shell)
    assert hooked.calls == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"\n",
        b"no final newline",
        b"refs/heads/a 1 refs/heads/a 2\n",
        b"refs/heads/a 1 refs/heads/a 2\n\n\n",
        b"  spaces \\n %s $HOME `x` * \xff\xfe \xe4\n",
        b"x" * 200_000 + b"\n",
    ],
    ids=["nothing", "newline", "cut", "line", "newlines", "hostile", "long"],
)
def test_the_other_hook_and_ours_read_the_very_bytes(hooked, shell, stdin):
    hooked.install("pre-push")
    other = hooked.folder / "pre-push.before-loom"
    hooked.write(other, '#!/bin/sh\nprintf "%s|" "$@" >"$NOTES/args"\ncat >"$NOTES/other"\n')
    line_ = line("1" * 40, "2" * 40)
    done = hooked.run("pre-push", "a remote", "u r l", stdin=line_ + stdin, shell=shell)
    assert done.returncode == 0
    assert (hooked.notes / "other").read_bytes() == line_ + stdin
    assert (hooked.notes / "args").read_text() == "a remote|u r l|"
    assert hooked.input == line_ + stdin


def test_a_hook_in_another_language_runs(hooked):
    hooked.install("commit-msg")
    text = "#!/usr/bin/env python3\nimport sys\nopen(sys.argv[1], 'a').write('seen')\n"
    hooked.write(hooked.folder / "commit-msg.before-loom", text)
    message = hooked.root / "message"
    message.write_text("A message\n")
    assert hooked.run("commit-msg", "message").returncode == 0
    assert message.read_text() == "A message\nseen"


@pytest.mark.parametrize("touched", [True, False])
def test_it_fails_where_the_other_hook_does(hooked, touched):
    hooked.install("pre-push")
    hooked.watch("prompts")
    hooked.write(hooked.folder / "pre-push.before-loom", "#!/bin/sh\nexit 7\n")
    one = git(hooked.root, "rev-parse", "HEAD")
    name = "prompts/a.txt" if touched else "src/code.py"
    new = commit(hooked.root, {name: "2\n"})
    assert hooked.run("pre-push", "o", "u", stdin=line(one, new)).returncode == 7
    assert len(hooked.calls) == touched  # and still ours says what it has to say
    assert hooked.run("pre-push", "o", "u", stdin=line(one, new), CODE="1").returncode in (1, 7)


def test_a_hook_that_git_would_not_run_is_not_run(hooked):
    hooked.install("pre-push")
    other = hooked.folder / "pre-push.before-loom"
    hooked.write(other, "#!/bin/sh\nexit 7\n", mode=0o644)
    assert hooked.run("pre-push", "o", "u").returncode == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_a_no_stops(hooked, shell):
    hooked.install("pre-push")
    push = line("1" * 40, "2" * 40)
    done = hooked.run("pre-push", "o", "u", stdin=push, shell=shell, CODE="1")
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("code", ["2", "3", "4", "137"])
def test_a_failure_of_our_own_says_so_and_lets_it_through(hooked, shell, code):
    hooked.install("pre-push")
    push = line("1" * 40, "2" * 40)
    done = hooked.run("pre-push", "o", "u", stdin=push, shell=shell, CODE=code)
    assert (done.returncode, done.stderr) == (
        0,
        b"loom: Loom failed: this push continues untested\n",
    )
    hooked.install("pre-push", strict=True)
    done = hooked.run("pre-push", "o", "u", stdin=push, shell=shell, CODE=code)
    assert done.returncode == 4
    assert b"this push is blocked because it cannot be tested" in done.stderr
    assert "hooks run --strict --project" in hooked.calls[-1]


def test_python_without_loom_is_no_no(hooked):
    """Both exit with 1."""
    hooked.install("pre-push", reinstall=f"pip install {NASTY}")
    push = line("1" * 40, "2" * 40)
    done = hooked.run("pre-push", "o", "u", stdin=push, CODE="1", VERSION_CODE="1")
    assert (done.returncode, done.stderr.count(b"continues untested")) == (0, 1)
    # The shell expands nothing in the command.
    reason = f"loom: Loom is not installed for {hooked.python} (pip install {NASTY}): "
    assert done.stderr.decode().startswith(reason)


def test_ctrl_c_stops(hooked):
    hooked.install("pre-push")
    push = line("1" * 40, "2" * 40)
    assert hooked.run("pre-push", "o", "u", stdin=push, CODE="130").returncode == 130


def test_an_interpreter_that_is_gone_is_replaced_by_the_command_on_the_path(hooked, tmp_path):
    hooked.install(
        "pre-push", python=str(tmp_path / "no such" / "python"), reinstall="pip install 'x'"
    )
    push = line("1" * 40, "2" * 40)
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "git", "cat", "dirname"):
        (bare / name).symlink_to(shutil.which(name))
    done = hooked.run("pre-push", "o", "u", stdin=push, PATH=str(bare))
    assert done.returncode == 0
    assert b"does not exist (pip install 'x', then loom hooks install)" in done.stderr
    loom = bare / "loom"
    hooked.write(loom, STAND_IN.replace('"$4" = --version', '"$1" = --version'))
    assert hooked.run("pre-push", "o", "u", stdin=push, PATH=str(bare)).returncode == 0
    assert hooked.calls == ["hooks run --project . pre-push -- o u"]


def test_a_worktree_without_the_project_is_left_alone(hooked):
    hooked.install("pre-push", project="apps/bot")
    done = hooked.run("pre-push", "o", "u", stdin=line("1" * 40, "2" * 40))
    assert done.returncode == 0
    assert b"the folder apps/bot does not exist" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_in_a_path_means_anything(hooked, shell):
    (hooked.root / NASTY).mkdir()
    python = hooked.notes / NASTY
    hooked.python.rename(python)
    hooked.install("pre-push", python=str(python), project=NASTY)
    hooked.watch(f"{NASTY}/prompts")
    one = git(hooked.root, "rev-parse", "HEAD")
    two = commit(hooked.root, {f"{NASTY}/src/a.py": "2\n"})
    three = commit(hooked.root, {f"{NASTY}/prompts/a.txt": "2\n"})
    hooked.run("pre-push", "o", "u", stdin=line(one, two), shell=shell)
    assert hooked.calls == []
    done = hooked.run("pre-push", "o", "u", stdin=line(two, three), shell=shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hooked.calls == [f"-P -m loomgit_command hooks run --project {NASTY} pre-push -- o u"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("hook", ["pre-commit", "commit-msg"])
def test_a_commit_is_judged_by_what_is_staged(hooked, shell, hook):
    hooked.install(hook)
    hooked.watch("prompts")
    (hooked.root / "prompts/a.txt").write_text("not staged\n")
    hooked.run(hook, "message", shell=shell)
    assert hooked.calls == []
    git(hooked.root, "add", "prompts/a.txt")
    (hooked.root / "prompts/a.txt").write_text("one\n")
    hooked.run(hook, "message", shell=shell)
    assert hooked.calls == [f"-P -m loomgit_command hooks run --project . {hook} -- message"]


@pytest.mark.parametrize("hook", HOOKS)
def test_skipping_still_runs_the_other_hook(hooked, hook):
    hooked.install(hook)
    hooked.write(hooked.folder / f"{hook}.before-loom", "#!/bin/sh\nexit 7\n")
    push = line("1" * 40, "2" * 40)
    assert hooked.run(hook, stdin=push, LOOM_SKIP="1").returncode == 7
    (hooked.folder / f"{hook}.before-loom").unlink()
    assert hooked.run(hook, stdin=push, LOOM_SKIP="1").returncode == 0
    assert hooked.calls == []


@pytest.mark.parametrize("name", [".", "apps/bot", NASTY, "naïve/ü", "\udcff"])
def test_a_hook_knows_its_project(name):
    text = script("pre-push", python="/usr/bin/python3", project=name)
    assert is_loom_hook(text)
    assert project_of(text) == name


def test_the_scripts_are_plain_sh(tmp_path):
    for hook in HOOKS:
        file = tmp_path / hook
        file.write_bytes(script(hook, python="/x", project="."))
        for shell in SHELLS:
            words = [shell, "sh"] if shell == "busybox" else [shell]
            subprocess.run([*words, "-n", str(file)], check=True, capture_output=True)
