import pytest

from loomgit.apps.lifecycle import (
    deprecate,
    get_version,
    promote,
    record_figures,
    require_running,
    require_state,
    rollback,
)
from loomgit.domain.apps import AppSettings, AppVersion, AppVersions, VersionFigures
from loomgit.errors import UserError

APP = "spam-detector-001"
FIGURES = VersionFigures(4, 0, 1.0, 0.5, 1.0, 0.1, 0.2, "none", "e.csv", "0" * 64, "2026")


def versions(*states, active=None, earlier=()):
    names = [f"v{number}" for number in range(1, len(states) + 1)]
    return AppVersions(APP, tuple(map(AppVersion, names, states)), active, earlier)


def states(found):
    return [version.state for version in found.versions]


def test_a_version_becomes_active_and_the_former_one_is_validated_again():
    first = promote(versions("validated", "validated"), "v1")
    assert (first.active, states(first), first.earlier) == ("v1", ["active", "validated"], ())
    second = promote(first, "v2")
    assert (second.active, states(second)) == ("v2", ["validated", "active"])
    assert second.earlier == ("v1",)
    back = rollback(second)
    assert (back.active, states(back), back.earlier) == ("v1", ["active", "validated"], ())


def test_rollback_returns_step_by_step():
    found = versions("validated", "validated", "validated")
    for name in ("v1", "v2", "v3"):
        found = promote(found, name)
    assert [found.active, found.earlier] == ["v3", ("v1", "v2")]
    found = rollback(found)
    assert found.active == "v2"
    found = rollback(found)
    assert found.active == "v1"
    with pytest.raises(UserError, match="no earlier active version"):
        rollback(found)


def test_rollback_skips_versions_that_cannot_become_active():
    skipped = versions("validated", "deprecated", "active", active="v3", earlier=("v1", "v2", "v9"))
    assert rollback(skipped).active == "v1"
    # a crash between the two files of a promotion leaves the active version in `earlier`
    crashed = versions("active", "validated", active="v1", earlier=("v1",))
    with pytest.raises(UserError):
        rollback(crashed)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("draft", "v2 is a draft, and only a validated version can become active"),
        ("deprecated", "v2 is deprecated"),
        ("active", "v2 is already active"),
    ],
)
def test_only_a_validated_version_can_become_active(state, message):
    active = "v2" if state == "active" else None
    with pytest.raises(UserError, match=message) as caught:
        promote(versions("validated", state, active=active), "v2")
    assert caught.value.hint or state == "active"


def test_a_version_is_deprecated_unless_it_is_active():
    assert states(deprecate(versions("draft", "validated"), "v1")) == ["deprecated", "validated"]
    assert states(deprecate(versions("draft", "validated"), "v2")) == ["draft", "deprecated"]
    with pytest.raises(UserError, match="v1 is active"):
        deprecate(versions("active", active="v1"), "v1")
    with pytest.raises(UserError, match="already deprecated"):
        deprecate(versions("deprecated"), "v1")


@pytest.mark.parametrize(
    ("before", "passed", "after"),
    [
        ("draft", True, "validated"),
        ("draft", False, "draft"),
        ("validated", True, "validated"),
        ("validated", False, "draft"),
        ("active", False, "active"),
        ("deprecated", True, "deprecated"),
    ],
)
def test_figures_change_the_state_of_drafts_and_validated_versions(before, passed, after):
    active = "v1" if before == "active" else None
    found = record_figures(versions(before, active=active), "v1", FIGURES, passed=passed)
    assert found.versions == (AppVersion("v1", after, None, FIGURES),)


def test_a_version_that_does_not_exist():
    found = versions("draft", "draft")
    with pytest.raises(UserError, match="has no version v3") as caught:
        get_version(found, "v3")
    assert caught.value.hint == "its versions: v1, v2"
    with pytest.raises(UserError, match="has no active version") as caught:
        get_version(found, None)
    assert "use --version v2" in caught.value.hint
    with pytest.raises(UserError, match="has no version v1"):
        promote(versions(), "v1")


def settings(state):
    return AppSettings(APP, "Spam", "Find spam", {}, {}, state=state)


def test_the_states_of_an_app():
    require_running(settings("active"))
    for state in ("paused", "archived"):
        with pytest.raises(UserError, match=f"is {state}") as caught:
            require_running(settings(state))
        assert f"loom app resume {APP}" in caught.value.hint
        require_state(settings(state), "active")
        require_state(settings("active"), state)
        with pytest.raises(UserError, match="already"):
            require_state(settings(state), state)
    require_state(settings("paused"), "archived")
    with pytest.raises(UserError, match="is archived"):
        require_state(settings("archived"), "paused")
