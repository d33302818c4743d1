"""Which two revisions a comparison is about, in repositories as people have them."""

import json
import os
import shutil

import pytest

from loomgit.errors import UserError
from loomgit.history.baselines import Baselines
from loomgit.history.repository import Repository
from tests.repos import commit, git, make, write


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """main: first, second, third; feature forked at second with one commit of its own."""
    folder = make(tmp_path_factory.mktemp("baselines") / "project")
    names = {"first": commit(folder, {"a.txt": "1"}, "first")}
    names["second"] = commit(folder, {"a.txt": "2"}, "second")
    names["third"] = commit(folder, {"b.txt": "3"}, "third")
    git(folder, "checkout", "--quiet", "-b", "feature", names["second"])
    names["mine"] = commit(folder, {"a.txt": "mine"}, "mine")
    return folder, names


@pytest.fixture
def forked(template, tmp_path):
    folder, names = template
    shutil.copytree(folder, tmp_path / "project")
    return tmp_path / "project", dict(names)


def baselines(folder, configured=None, **environment):
    repository = Repository.open(folder, {**os.environ, **environment})
    return Baselines(repository, configured, environment)


def choose(folder, expression=None, head=None, **environment):
    return baselines(folder, **environment).choose(expression, head)


def clone(source, folder, *options):
    git(source.parent, "clone", "--quiet", *options, f"file://{source}", str(folder))
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.org")
    return folder


# -- what people write


def test_three_dots_mean_the_merge_base(forked):
    folder, names = forked
    ends = choose(folder, "main...feature")
    assert (ends.base, ends.head) == (names["second"], names["mine"])
    assert (ends.base_name, ends.head_name) == ("merge base with main", "feature")


def test_two_dots_mean_the_tip(forked):
    folder, names = forked
    ends = choose(folder, "main..feature")
    assert (ends.base, ends.head) == (names["third"], names["mine"])
    assert ends.base_name == "main"


def test_one_revision_means_three_dots_to_where_one_stands(forked):
    folder, names = forked
    ends = choose(folder, "main")
    assert (ends.base, ends.head, ends.head_name) == (names["second"], names["mine"], "feature")
    write(folder, {"a.txt": "edited"})
    ends = choose(folder, "main")
    assert (ends.base, ends.head, ends.head_name) == (names["second"], None, "working tree")


@pytest.mark.parametrize(
    ("expression", "base", "head"),
    [("main..", "third", "mine"), ("..main", "mine", "third"), ("...main", "second", "third")],
)
def test_a_side_that_is_left_out_is_head(forked, expression, base, head):
    folder, names = forked
    ends = choose(folder, expression)
    assert (ends.base, ends.head) == (names[base], names[head])


def test_tags_short_ids_and_reflogs_are_revisions(forked):
    folder, names = forked
    git(folder, "tag", "-a", "-m", "x", "v 1".replace(" ", "."), names["first"])
    for expression in ("v.1..", f"{names['first'][:8]}..", "feature~2..", "HEAD^^..", "@~2.."):
        assert choose(folder, expression).base == names["first"], expression
    assert choose(folder, "@{1}..").base == names["second"]


@pytest.mark.parametrize("expression", ["", "..", "..."])
def test_an_empty_expression_is_refused(forked, expression):
    with pytest.raises(UserError, match="names no revision") as raised:
        choose(forked[0], expression)
    assert "variable" in raised.value.hint


@pytest.mark.parametrize(
    "expression", ["nope", "nope..main", "main...nope", "--all", "@{99}", "HEAD:a.txt", "a b"]
)
def test_a_revision_that_is_not_there_is_told(forked, expression):
    with pytest.raises(UserError, match="there is no revision"):
        choose(forked[0], expression)


def test_a_revision_that_is_misspelt_is_guessed(forked):
    with pytest.raises(UserError) as raised:
        choose(forked[0], "featrue")
    assert raised.value.hint == "did you mean 'feature'?"


def test_the_head_is_named_once(forked):
    with pytest.raises(UserError, match="both main..feature and --head index"):
        choose(forked[0], "main..feature", "index")


@pytest.mark.parametrize(
    ("head", "tree"), [("worktree", None), ("index", ""), ("main", "third"), ("HEAD~1", "second")]
)
def test_the_head_can_be_chosen(forked, head, tree):
    folder, names = forked
    assert choose(folder, "main~2..", head).head == names.get(tree, tree)


def test_untracked_files_do_not_make_a_tree_dirty(forked):
    folder, names = forked
    write(folder, {"new.txt": "x"})
    assert choose(folder).head == names["mine"]


# -- where nobody names a baseline


def test_a_feature_branch_is_compared_from_where_it_forked(forked):
    folder, names = forked
    ends = choose(folder)
    assert (ends.base, ends.head) == (names["second"], names["mine"])
    assert ends.base_name == "merge base with main"


def test_a_detached_head_too(forked):
    folder, names = forked
    git(folder, "checkout", "--quiet", "--detach")
    ends = choose(folder)
    assert (ends.base, ends.head, ends.head_name) == (names["second"], names["mine"], "HEAD")


def test_the_default_branch_is_as_configured_then_the_remotes_then_main_or_master(forked, tmp_path):
    folder, names = forked
    git(folder, "branch", "trunk", names["first"])
    assert baselines(folder, "trunk").choose().base == names["first"]
    other = clone(folder, tmp_path / "clone")  # its origin/HEAD is feature
    git(other, "checkout", "--quiet", "-b", "mine", "origin/main")
    assert choose(other).base_name == "merge base with feature"
    git(folder, "branch", "-m", "main", "master")
    assert choose(folder).base_name == "merge base with master"
    git(folder, "branch", "-m", "master", "other")
    ends = choose(folder)
    assert ends.base is None
    assert "no default branch" in ends.why


def test_a_configured_branch_may_be_at_the_remote_alone(forked, tmp_path):
    folder, names = forked
    other = clone(folder, tmp_path / "clone")
    ends = baselines(other, "main").choose()
    assert (ends.base, ends.base_name) == (names["second"], "merge base with main")


def test_a_configured_branch_that_is_not_there_is_told(forked):
    with pytest.raises(UserError, match=r"config.yaml: baseline: there is no branch nope"):
        baselines(forked[0], "nope").choose()


def test_a_tag_called_main_is_not_the_branch(forked):
    folder, names = forked
    git(folder, "tag", "main", names["first"])
    assert choose(folder).base == names["second"]


def test_the_default_branch_is_compared_with_its_upstream_first(forked, tmp_path):
    folder, names = forked
    git(folder, "checkout", "--quiet", "main")
    other = clone(folder, tmp_path / "clone")
    mine = commit(other, {"a.txt": "ahead"})
    ends = choose(other)
    assert (ends.base, ends.head) == (names["third"], mine)
    assert ends.base_name == "upstream of main"


def test_the_default_branch_that_is_dirty_is_compared_with_what_is_committed(forked):
    folder, names = forked
    git(folder, "checkout", "--quiet", "main")
    write(folder, {"a.txt": "edited"})
    ends = choose(folder)
    assert (ends.base, ends.base_name, ends.head) == (names["third"], "HEAD", None)
    assert choose(folder, head="index").base == names["third"]
    assert choose(folder, head="HEAD").base == names["second"]


def test_the_default_branch_that_is_clean_is_compared_with_the_commit_before(forked):
    folder, names = forked
    git(folder, "checkout", "--quiet", "main")
    ends = choose(folder)
    assert (ends.base, ends.base_name) == (names["second"], "HEAD^1")
    assert (ends.head, ends.head_name) == (names["third"], "main")


def test_another_branch_can_be_looked_at_from_the_default_branch(forked):
    folder, names = forked
    git(folder, "checkout", "--quiet", "main")
    ends = choose(folder, head="feature")
    assert (ends.base, ends.head) == (names["second"], names["mine"])


def test_the_first_commit_has_no_baseline(tmp_path):
    folder = make(tmp_path / "project")
    commit(folder, {"a.txt": "1"})
    ends = choose(folder)
    assert ends.base is None
    assert ends.why == "the head is the first commit"


def test_before_the_first_commit_there_is_no_baseline(tmp_path):
    folder = make(tmp_path / "project")
    write(folder, {"a.txt": "1"})
    for head, tree in ((None, None), ("index", "")):
        ends = choose(folder, head=head)
        assert (ends.base, ends.head, ends.why) == (None, tree, "there is no commit yet")


def test_branches_without_common_history_have_no_merge_base(forked):
    folder, _ = forked
    git(folder, "checkout", "--quiet", "--orphan", "island")
    commit(folder, {"a.txt": "alone"})
    ends = choose(folder)
    assert ends.base is None
    assert ends.why == "main and the head share no history"


# -- a default branch that was renamed


@pytest.fixture
def renamed(forked, tmp_path):
    """A clone whose origin/HEAD names main, which is now called trunk at the server."""
    folder, names = forked
    git(folder, "checkout", "--quiet", "main")
    work = clone(folder, tmp_path / "clone")
    git(folder, "branch", "--move", "main", "trunk")
    git(work, "fetch", "--quiet", "--prune")
    return work, names


def test_a_default_branch_that_is_gone_is_an_error_that_says_how_to_set_it(renamed):
    work, _ = renamed
    git(work, "checkout", "--quiet", "-b", "mine", "origin/feature")
    git(work, "branch", "--quiet", "--unset-upstream")
    with pytest.raises(
        UserError, match="origin/HEAD names origin/main, which does not exist"
    ) as raised:
        choose(work)
    assert "git remote set-head origin -a" in raised.value.hint
    git(work, "remote", "set-head", "origin", "-a")
    assert choose(work).base_name == "merge base with trunk"


def test_the_local_main_is_too_old_to_take_its_place(renamed):
    work, names = renamed
    assert git(work, "branch", "--list", "main")
    git(work, "checkout", "--quiet", "-b", "mine")
    with pytest.raises(UserError, match="the default branch is unknown"):
        choose(work)
    assert choose(work, "main").base == names["third"]


def test_the_upstream_takes_its_place_unless_it_is_the_branch_itself(renamed):
    work, names = renamed
    git(work, "checkout", "--quiet", "-b", "mine", "origin/trunk")
    commit(work, {"a.txt": "more"})
    ends = choose(work)
    assert (ends.base, ends.base_name) == (names["third"], "merge base with trunk")
    git(work, "checkout", "--quiet", "feature")  # tracks origin/feature
    with pytest.raises(UserError, match="the default branch is unknown"):
        choose(work)


def test_of_master_renamed_to_main_the_remote_branch_takes_its_place(renamed):
    work, names = renamed
    git(work, "update-ref", "refs/remotes/origin/master", names["first"])
    ends = choose(work, head="origin/feature")
    assert (ends.base, ends.base_name) == (names["first"], "merge base with master")


# -- a merge queue


@pytest.fixture
def queued(forked, tmp_path):
    """Two entries of a merge queue on main; the event of the second one."""
    folder, names = forked
    git(folder, "checkout", "--quiet", "--detach", "main")
    names["entry 1"] = commit(folder, {"a.txt": "entry 1"})
    names["entry 2"] = commit(folder, {"a.txt": "entry 2"})
    entry = {"base_sha": names["entry 1"], "head_sha": names["entry 2"]}
    write(tmp_path, {"event.json": json.dumps({"merge_group": entry})})
    return folder, names, str(tmp_path / "event.json")


def test_in_a_merge_queue_the_base_is_the_entry_before(queued):
    folder, names, event = queued
    ends = choose(folder, GITHUB_EVENT_PATH=event)
    assert (ends.base, ends.base_name) == (names["entry 1"], "the merge queue's base")
    assert choose(folder, head="HEAD", GITHUB_EVENT_PATH=event).base == names["entry 1"]
    assert choose(folder, "main", GITHUB_EVENT_PATH=event).base == names["third"]
    write(folder, {"a.txt": "edited by a step of the job"})
    assert choose(folder, GITHUB_EVENT_PATH=event).base == names["entry 1"]


def test_in_a_merge_queue_another_commit_has_its_own_base(queued):
    folder, names, event = queued
    assert choose(folder, head="feature", GITHUB_EVENT_PATH=event).base == names["second"]
    git(folder, "checkout", "--quiet", "--detach", names["entry 1"])
    assert choose(folder, GITHUB_EVENT_PATH=event).base == names["third"]


def test_a_base_of_a_merge_queue_that_was_not_fetched_is_an_error(queued, tmp_path):
    folder, _, event = queued
    git(folder, "branch", "queue")
    shallow = clone(folder, tmp_path / "shallow", "--depth=1", "--branch=queue")
    with pytest.raises(UserError, match="there is no revision") as raised:
        choose(shallow, GITHUB_EVENT_PATH=event)
    assert "fetch-depth 0" in raised.value.hint


# -- pull requests and shallow clones


@pytest.fixture
def pull_request(forked, tmp_path):
    """A server that has the test merge of feature into main as refs/pull/7/merge."""
    folder, names = forked
    git(folder, "checkout", "--quiet", "--detach", "main")
    git(folder, "merge", "--quiet", "--no-ff", "-m", "test merge", "feature", "-X", "theirs")
    names["merge"] = git(folder, "rev-parse", "HEAD")
    git(folder, "update-ref", "refs/pull/7/merge", "HEAD")
    git(folder, "checkout", "--quiet", "main")
    return folder, names


def checked_out(server, folder, reference, *depth):
    """As actions/checkout does it."""
    make(folder)
    git(folder, "remote", "add", "origin", f"file://{server}")
    local = f"refs/remotes/{reference.removeprefix('refs/')}"
    git(folder, "fetch", "--quiet", "--no-tags", *depth, "origin", f"+{reference}:{local}")
    git(folder, "checkout", "--quiet", "--detach", local)
    return folder


@pytest.mark.parametrize("depth", [("--depth=2",), ()])
def test_a_test_merge_is_compared_with_the_base_that_it_was_merged_into(
    pull_request, tmp_path, depth
):
    server, names = pull_request
    folder = checked_out(server, tmp_path / "runner", "refs/pull/7/merge", *depth)
    ends = choose(folder)
    assert (ends.base, ends.head) == (names["third"], names["merge"])
    assert ends.base_name == "the pull request's base"


def test_a_test_merge_of_depth_one_says_which_depth_it_takes(pull_request, tmp_path):
    server, _ = pull_request
    folder = checked_out(server, tmp_path / "runner", "refs/pull/7/merge", "--depth=1")
    ends = choose(folder)
    assert ends.base is None
    assert "fetch-depth 2" in ends.why


def test_github_says_that_a_merge_is_a_test_merge(pull_request):
    folder, names = pull_request
    git(folder, "update-ref", "-d", "refs/pull/7/merge")
    git(folder, "checkout", "--quiet", "--detach", names["merge"])
    ends = choose(folder, GITHUB_REF="refs/pull/7/merge")
    assert ends.base == names["third"]
    assert ends.base_name == "the pull request's base"


def test_a_pull_requests_own_commit_is_no_test_merge_whatever_github_says(pull_request):
    folder, names = pull_request
    git(folder, "checkout", "--quiet", "--detach", "feature")
    ends = choose(folder, GITHUB_REF="refs/pull/7/merge")
    assert (ends.base, ends.base_name) == (names["second"], "merge base with main")


def test_a_merge_of_ones_own_is_no_test_merge(pull_request):
    folder, names = pull_request
    git(folder, "update-ref", "-d", "refs/pull/7/merge")
    git(folder, "checkout", "--quiet", "--detach", names["merge"])
    assert choose(folder).base_name == "merge base with main"


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_clone_of_one_branch_says_what_to_fetch(forked, tmp_path, depth):
    folder, _ = forked
    commit(folder, {"a.txt": "more"})
    shallow = clone(folder, tmp_path / "clone", f"--depth={depth}", "--branch=feature")
    git(shallow, "remote", "set-head", "origin", "--delete")
    ends = choose(shallow)
    assert ends.base is None
    assert "fetch-depth 0" in ends.why


def test_a_shallow_clone_with_both_tips_says_that_the_fork_is_missing(forked, tmp_path):
    folder, _ = forked
    shallow = clone(folder, tmp_path / "clone", "--depth=1", "--no-single-branch")
    for configured in (None, "main"):
        ends = baselines(shallow, configured).choose("origin/main" if not configured else None)
        assert ends.base is None
        assert "the shallow clone has no merge base with" in ends.why
        assert "fetch-depth 0" in ends.why


def test_a_shallow_clone_of_the_default_branch_says_what_is_missing(forked, tmp_path):
    folder, names = forked
    git(folder, "checkout", "--quiet", "main")
    shallow = clone(folder, tmp_path / "one", "--depth=1")
    assert "fetch-depth 2" in choose(shallow).why
    assert choose(clone(folder, tmp_path / "two", "--depth=2")).base == names["second"]


def test_a_configured_branch_that_a_shallow_clone_lacks_is_no_fault(forked, tmp_path):
    shallow = clone(forked[0], tmp_path / "clone", "--depth=1", "--branch=feature")
    ends = baselines(shallow, "trunk").choose()
    assert ends.base is None
    assert "fetch-depth 0" in ends.why


def test_a_revision_beyond_where_history_is_cut_off_has_a_hint(forked, tmp_path):
    folder, names = forked
    shallow = clone(folder, tmp_path / "clone", "--depth=1")
    with pytest.raises(UserError) as raised:
        choose(shallow, names["first"])
    assert "fetch-depth 0" in raised.value.hint


# -- where repositories stand


def test_a_linked_worktree_has_a_head_of_its_own(forked, tmp_path):
    folder, names = forked
    git(folder, "worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
    ends = choose(tmp_path / "linked", "feature")
    assert (ends.base, ends.head, ends.head_name) == (names["second"], names["third"], "main")
    assert choose(folder).head == names["mine"]


def test_a_submodule_is_a_repository_of_its_own(forked, tmp_path):
    folder, names = forked
    whole = make(tmp_path / "whole")
    git(whole, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        f"file://{folder}", "part")  # fmt: skip
    commit(whole, {"x.txt": "1"})
    git(whole / "part", "checkout", "--quiet", "-b", "mine", names["mine"])
    assert choose(whole / "part", "origin/main").base == names["second"]


def test_a_sha256_repository_has_long_ids(tmp_path):
    folder = make(tmp_path / "project", "--object-format=sha256")
    first = commit(folder, {"a.txt": "1"})
    git(folder, "checkout", "--quiet", "-b", "feature")
    commit(folder, {"a.txt": "2"})
    assert choose(folder).base == first
    assert len(first) == 64


# -- merges that nobody made


def test_a_merge_is_made_without_touching_anything(forked):
    folder, names = forked
    before = git(folder, "for-each-ref"), git(folder, "status", "--porcelain=v2", "--branch")
    ends = baselines(folder).merged("main", "feature")
    assert ends.base == names["third"]
    assert ends.head_name == "feature merged into main"
    assert git(folder, "show", f"{ends.head}:a.txt") == "mine"
    assert git(folder, "show", f"{ends.head}:b.txt") == "3"
    after = git(folder, "for-each-ref"), git(folder, "status", "--porcelain=v2", "--branch")
    assert before == after
    assert baselines(folder).merged("main", "feature").head == ends.head  # the same every time


def test_a_merge_that_conflicts_names_the_files(forked):
    folder, _ = forked
    git(folder, "checkout", "--quiet", "main")
    commit(folder, {"a.txt": "theirs", "ä b.txt": "theirs"})
    git(folder, "checkout", "--quiet", "feature")
    commit(folder, {"ä b.txt": "mine"})
    with pytest.raises(UserError, match="main and feature conflict in a.txt, ä b.txt"):
        baselines(folder).merged("main", "feature")


def test_ancestors_are_the_first_parents_nearest_first(pull_request):
    folder, names = pull_request
    found = baselines(folder).ancestors(names["merge"])
    assert found == [names[name] for name in ("merge", "third", "second", "first")]
