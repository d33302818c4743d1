import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.models import Usage
from loomgit.domain.settings import ModelSettings
from loomgit.gateway.prices import Prices, UnitPrice

LISTED = Prices({})
MINI = UnitPrice(input=0.15e-6, output=0.6e-6, cached=0.075e-6)


def close_to(price):
    return UnitPrice(*(pytest.approx(part) for part in (price.input, price.output, price.cached)))


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/gpt-4o-mini"])
@pytest.mark.parametrize("served", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "something-else"])
def test_a_listed_model_has_its_price_under_each_of_its_names(model, served):
    assert LISTED.unit_price(model, served) == close_to(MINI)


def test_the_snapshot_that_answered_decides_the_price():
    assert LISTED.unit_price("gpt-4o", "gpt-4o").input == pytest.approx(2.5e-6)
    assert LISTED.unit_price("gpt-4o", "gpt-4o-2024-05-13").input == pytest.approx(5e-6)


def test_cached_tokens_cost_the_cache_price():
    cost = LISTED.cost("gpt-4o-mini", "gpt-4o-mini", Usage(input=1000, output=500, cached=200))
    assert cost == pytest.approx((800 * 0.15 + 200 * 0.075 + 500 * 0.6) / 1e6)


def test_long_prompts_cost_what_the_provider_asks_for_them():
    short = LISTED.unit_price("gemini/gemini-2.5-pro", prompt_tokens=200_000)
    long = LISTED.unit_price("gemini/gemini-2.5-pro", prompt_tokens=200_001)
    assert (short.input, long.input) == (pytest.approx(1.25e-6), pytest.approx(2.5e-6))
    assert (short.output, long.output) == (pytest.approx(1e-5), pytest.approx(1.5e-5))


@pytest.mark.parametrize("model", ["my-own-model", "openai/my-own-model", "nobody/gpt-4o-mini", ""])
def test_an_unknown_price_is_unknown_and_not_zero(model):
    assert LISTED.cost(model, model, Usage(1000, 1000)) is None


def test_a_local_server_that_calls_its_model_like_a_listed_one_does_not_get_its_price():
    assert LISTED.cost("my-own-model", "gpt-4o-mini", Usage(1000, 1000)) is None


def test_the_embedded_model_is_free():
    assert LISTED.cost("embedded/icl", "embedded/icl", Usage(1000, 1000)) == 0.0


def test_a_name_that_the_embedded_model_answers_is_free_unless_it_has_a_price():
    usage = Usage(1_000_000, 500_000)
    embedded = ModelSettings(lane="embedded")
    assert Prices({"gpt-4o-mini": embedded}).cost("gpt-4o-mini", "embedded/icl", usage) == 0.0
    assert Prices({"mine": embedded}).cost("mine", "embedded/icl", usage) == 0.0
    priced = ModelSettings(lane="embedded", input_price=10.0, output_price=20.0)
    assert Prices({"mine": priced}).cost("mine", "embedded/icl", usage) == 20.0


def test_the_projects_prices_win_and_are_per_million_tokens():
    prices = Prices({"gpt-4o-mini": ModelSettings(input_price=10.0, output_price=20.0)})
    assert prices.cost("gpt-4o-mini", "gpt-4o-mini-2024-07-18", Usage(1_000_000, 500_000)) == 20.0


def test_a_project_without_a_cache_price_pays_the_full_one():
    usage = Usage(input=1_000_000, cached=1_000_000)
    plain = ModelSettings(input_price=10.0, output_price=20.0)
    cheap = ModelSettings(input_price=10.0, output_price=20.0, cached_input_price=1.0)
    prices = Prices({"plain": plain, "cheap": cheap})
    assert (prices.cost("plain", "plain", usage), prices.cost("cheap", "cheap", usage)) == (
        10.0,
        1.0,
    )


def test_half_a_price_is_completed_from_the_list_or_unknown():
    half = ModelSettings(input_price=10.0)
    prices = Prices({"gpt-4o-mini": half, "mine": half})
    assert prices.unit_price("gpt-4o-mini") == close_to(UnitPrice(1e-5, 0.6e-6, 1e-5))
    assert prices.unit_price("mine") is None


def test_price_as_takes_the_price_of_another_model():
    other = ModelSettings(input_price=1.0, output_price=2.0)
    prices = Prices(
        {
            "embedded/icl": ModelSettings(price_as="gpt-4o-mini"),
            "mine": ModelSettings(price_as="other"),
            "other": other,
            "lost": ModelSettings(price_as="nowhere"),
        }
    )
    assert prices.unit_price("embedded/icl", "embedded/icl") == close_to(MINI)
    assert prices.unit_price("mine", "mine") == close_to(UnitPrice(1e-6, 2e-6, 1e-6))
    assert prices.unit_price("lost") is None


def test_the_longest_reply_is_the_projects_word_or_the_lists():
    prices = Prices({"gpt-4o-mini": ModelSettings(max_output_tokens=99)})
    assert prices.max_output_tokens("gpt-4o-mini") == 99
    assert LISTED.max_output_tokens("openai/gpt-4o-mini") == 16384
    assert LISTED.max_output_tokens("my-own-model") is None


@given(asked=st.integers(0, 10**6), cached=st.integers(0, 10**6), replied=st.integers(0, 10**6))
def test_a_cost_is_never_negative_and_grows_with_the_tokens(asked, cached, replied):
    cost = MINI.cost(Usage(asked, replied, cached))
    assert 0 <= cost <= MINI.cost(Usage(asked + 1, replied, cached))
    assert cost <= MINI.cost(Usage(asked, replied + 1, 0))


def test_prices_are_read_without_importing_litellm():
    program = (
        "import sys; from loomgit.gateway.prices import Prices; "
        "print(Prices({}).unit_price('gpt-4o-mini').input, 'litellm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.5e-07 False\n"
