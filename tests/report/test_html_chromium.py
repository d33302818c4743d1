"""The pages in a real browser: nothing is fetched or complained of, and all of it can be read, on a
phone and on a desk, by day and by night. Pictures go to the folder `LOOM_ARTIFACTS`."""

import asyncio
import os
import struct
from pathlib import Path

import pytest
from msgspec.structs import replace

from loomgit.report.html import render_changes, render_comparison, render_overview, render_session
from tests.report import samples
from tests.report.chromium import browse, find

PHONE, DESK = 380, 1200
LOOKS = [(PHONE, False), (PHONE, True), (DESK, False), (DESK, True)]
FEW = [(PHONE, False), (DESK, True)]  # for what is there to break, not to be looked at
SEEN = ("comparison", "session", "overview", "changes")
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"

# Whatever ends right of the window, but for what scrolls in its own box.
WIDER = """[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect(), end = document.documentElement.clientWidth;
  return box.width > 0 && box.right > end + 0.5 && !e.closest('.scroll > *');
}).map(e => e.outerHTML.slice(0, 120))"""

# Text that is too pale on what lies behind it, too small, or cut off.
HARD_TO_READ = """(() => {
  const parts = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parts(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), e = walker.currentNode.parentElement;
    const box = e.getBoundingClientRect();
    if (!text || !box.width || e.closest('title, desc, .skip, [aria-hidden]')) continue;
    const style = getComputedStyle(e), svg = e.closest('svg');
    const [a, b] = [light(parts(svg ? style.fill : style.color)), light(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    const size = parseFloat(style.fontSize) * scale;
    if (contrast < 4.5) bad.push(`contrast ${contrast.toFixed(2)}: ${text.slice(0, 60)}`);
    if (size < (svg ? 9.5 : 11.9)) bad.push(`size ${size.toFixed(1)}: ${text.slice(0, 60)}`);
    if (svg) {
      const whole = svg.getBoundingClientRect();
      if (box.left < whole.left - 1 || box.right > whole.right + 1) bad.push(`cut off: ${text}`);
    }
  }
  return bad;
})()"""


def big():
    whole = samples.comparison()
    return replace(whole, pipelines=(samples.degraded(1000, 1000),))


def pages():
    whole = samples.comparison()
    known = {"customer_sentiment": samples.evidence(whole.pipelines[0])}
    return {
        "comparison": render_comparison(whole, known),
        "session": render_session(samples.tables(), known, commit=samples.HEAD),
        "overview": render_overview(samples.overview(), generated="2026-11-22 10:15 UTC"),
        "changes": render_changes(samples.change_log()),
        "hostile": render_comparison(*samples.hostile()),
        "big": render_comparison(big()),
    }


async def look(folder, pictures, texts):
    """What the browser finds, by page and look."""
    found = {}
    async with browse(find(), folder) as page:
        for name, text in texts.items():
            path = folder / f"{name}.html"
            path.write_text(text, encoding="utf-8")
            for width, dark in LOOKS if name in SEEN else FEW:
                page.requests.clear()
                page.complaints.clear()
                await page.open(path, width=width, dark=dark)
                seen = {
                    "took": await page.run(
                        "performance.getEntriesByType('navigation')[0].loadEventEnd"
                    ),
                    "picture": await page.shoot(),
                    "paper": await page.run("getComputedStyle(document.body).backgroundColor"),
                }
                await page.run(OPEN_ALL)
                seen["page"] = await page.run("document.documentElement.scrollWidth")
                seen["wider"] = await page.run(WIDER)
                seen["hard"] = await page.run(HARD_TO_READ)
                seen["charts"] = await page.run(
                    "[...document.querySelectorAll('svg.chart')]"
                    ".filter(e => e.getBoundingClientRect().width > 100).length"
                )
                seen["asked"] = [url for url in page.requests if url != path.as_uri()]
                seen["said"] = list(page.complaints)
                found[name, width, dark] = seen
                label = f"report-{name}-{width}-{'dark' if dark else 'light'}.png"
                (pictures / label).write_bytes(seen["picture"])
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    find()  # skips, or installs it, before anything is drawn
    folder = tmp_path_factory.mktemp("pages")
    pictures = Path(os.environ.get("LOOM_ARTIFACTS") or folder)
    pictures.mkdir(parents=True, exist_ok=True)
    return asyncio.run(look(folder, pictures, pages()))


def test_nothing_is_fetched_and_nothing_is_complained_of(seen):
    assert len(seen) == 20
    for look_at, found in seen.items():
        assert found["asked"] == [], look_at
        assert found["said"] == [], look_at


def test_no_page_is_wider_than_its_window(seen):
    for look_at, found in seen.items():
        assert found["wider"] == [], look_at
        assert found["page"] == look_at[1], look_at


def test_all_text_can_be_read(seen):
    for look_at, found in seen.items():
        assert found["hard"] == [], look_at


def test_night_is_dark_and_day_is_light(seen):
    for name in SEEN:
        assert seen[name, PHONE, False]["paper"] == "rgb(246, 244, 240)"
        assert seen[name, PHONE, True]["paper"] == "rgb(19, 20, 24)"


def test_charts_are_there_in_each_look(seen):
    for name, count in (("comparison", 4), ("session", 3), ("overview", 7)):
        assert {seen[name, w, dark]["charts"] for w, dark in LOOKS} == {count}, name


def test_pictures_are_of_the_whole_page(seen):
    for (name, width, _), found in seen.items():
        size = struct.unpack(">II", found["picture"][16:24])
        assert size[0] == width
        assert size[1] > 600, name


def test_a_page_of_two_thousand_cases_opens_fast(seen):
    assert all(seen["big", width, dark]["took"] < 3000 for width, dark in FEW)


def test_the_checks_see_what_is_wrong(tmp_path):
    wrong = """<!doctype html><title>x</title>
        <meta name="viewport" content="width=device-width"><body style="color:#888;background:#fff">
        pale<p style="width:900px">wide</p><p style="font-size:8px;color:#000">small</p>
        <img src="http://127.0.0.1:9/x.png" alt=""><script>console.error('no')</script></body>"""
    found = asyncio.run(look(tmp_path, tmp_path, {"wrong": wrong}))["wrong", PHONE, False]
    assert found["asked"] == ["http://127.0.0.1:9/x.png"]
    assert any("no" in said for said in found["said"])
    assert any(">wide<" in one for one in found["wider"])
    assert [one.split(" ")[0] for one in found["hard"]] == ["contrast", "contrast", "size"]
