"""What a call costs beyond the wire: 1,000 calls, 50 at once, at latencies of 0 and 50 ms.

A bare aiohttp script, our direct lane alone, our whole chain (retry, pace, cache) and litellm
gathered, in turns, each in a process of its own against a server in another; then 10,000 replies
from the cache. CPU is that of the client's process between its first call and its last. Whole
commands are in `commands.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path

from measure import PYTHON, ROOT, Sample, report, run

CONCURRENCY = 50
MODEL = "gpt-4o-mini"
SERVER = ROOT / "tests" / "servers" / "openai_server.py"
FILLER = "Classify this review as positive, negative or neutral; answer with one word. " * 5
TEXT = FILLER + "Review: it is great, number {}."

Call = Callable[[int], Awaitable[object]]


async def timed(count: int, call: Call) -> dict[str, float]:
    """Wall and CPU seconds of `count` calls, as many at once as there are workers."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    started, before = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return {"wall": time.perf_counter() - started, "cpu": time.process_time() - before}


async def bare(url: str, count: int, _: Path) -> dict[str, float]:
    """What a person would write by hand: post, read, parse, take the text out."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call(number: int) -> str:
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": TEXT.format(number)}],
            }
            async with session.post(f"{url}/chat/completions", json=body) as response:
                reply = await response.json()
            return reply["choices"][0]["message"]["content"]

        await call(-1)
        return await timed(count, call)


async def litellm(url: str, count: int, _: Path) -> dict[str, float]:
    """litellm as it is used most: `acompletion`, gathered."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    async def call(number: int) -> str:
        messages = [{"role": "user", "content": TEXT.format(number)}]
        reply = await litellm.acompletion(
            model=MODEL, messages=messages, base_url=url, api_key="none", max_retries=0
        )
        return reply.choices[0].message.content

    await call(-1)  # what it loads at its first call is not a call's
    return await timed(count, call)


def ours(part: str) -> Callable[[str, int, Path], Awaitable[dict[str, float]]]:
    """Our gateways: the lane alone, or the chain around it."""

    async def measure(url: str, count: int, folder: Path) -> dict[str, float]:
        from loomgit.domain.definitions import CacheRule
        from loomgit.domain.models import Message, Request
        from loomgit.domain.place import Place
        from loomgit.domain.settings import ModelSettings, Secret
        from loomgit.gateway.chain import Lanes, build
        from loomgit.gateway.reply_store import ReplyStore

        lane = "litellm" if part == "litellm lane" else "direct"
        settings = ModelSettings(base_url=Secret(url, Place("bench")), lane=lane)
        lanes = Lanes({MODEL: settings}, str, {})
        if part == "direct lane" or lane == "litellm":
            gateway = lanes.open()
        else:
            store = ReplyStore(folder / "responses.sqlite", warn=print)
            rules = {"transform": CacheRule()}
            gateway = build(lanes, concurrency=CONCURRENCY, store=store, rules=rules)

        async def call(number: int) -> str:
            request = Request(MODEL, (Message("user", TEXT.format(number)),))
            return (await gateway.complete(request)).text

        if part != "cached":
            await call(-1)
        taken = await timed(count, call)
        await gateway.close()
        return taken

    return measure


CLIENTS = {
    "bare aiohttp": bare,
    "direct lane": ours("direct lane"),
    "whole chain": ours("whole chain"),
    "litellm lane": ours("litellm lane"),
    "litellm gathered": litellm,
    "cached": ours("cached"),
}


def child(name: str, url: str, count: int, folder: Path) -> dict[str, float]:
    """Run one client in a process of its own; its figures with its peak memory in MB."""
    command = [PYTHON, __file__, "--client", name, "--url", url, "--calls", str(count)]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as figures:
        whole = run([*command, "--folder", str(folder), "--out", figures.name])
        return {**json.load(figures), "peak": whole.peak, "whole": whole.wall}


@contextmanager
def serving(latency: float):
    """The server's address; what it counted is checked to be what was asked."""
    command = [PYTHON, str(SERVER), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def median(rounds: list[dict[str, float]], key: str) -> float:
    return statistics.median(taken[key] for taken in rounds)


def compare(latency: float, names: list[str], calls: int, rounds: int) -> None:
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with serving(latency) as url:
        for _ in range(rounds):
            for name in names:
                with tempfile.TemporaryDirectory() as folder:
                    taken[name].append(child(name, url, calls, Path(folder)))
    samples = {
        name: Sample(median(each, "wall"), median(each, "cpu"), median(each, "peak"))
        for name, each in taken.items()
    }
    wire, figures = samples["bare aiohttp"], {}
    for name, sample in samples.items():
        figures[f"{name}: CPU ms a call"] = 1000 * sample.cpu / calls
        if name != "bare aiohttp":
            figures[f"{name}: CPU ms a call over bare aiohttp"] = (
                1000 * (sample.cpu - wire.cpu) / calls
            )
            figures[f"{name}: wall / bare aiohttp"] = sample.wall / wire.wall
    if latency:
        ideal = latency * calls / CONCURRENCY
        for name, sample in samples.items():
            figures[f"{name}: wall / ideal (limit 1.25)"] = sample.wall / ideal
    title = f"calls: {calls:,} at {latency * 1000:.0f} ms, {CONCURRENCY} at once"
    report(title, samples, figures)


def cached(count: int) -> None:
    """The same 10,000 again, all kept."""
    with tempfile.TemporaryDirectory() as folder, serving(0.0) as url:
        first = child("cached", url, count, Path(folder))
        again = child("cached", url, count, Path(folder))
    samples = {
        name: Sample(taken["wall"], taken["cpu"], taken["peak"])
        for name, taken in (("asked and kept", first), ("from the cache", again))
    }
    figures = {
        "ms a reply from the cache": 1000 * again["wall"] / count,
        "peak MB (limit 150)": again["peak"],
    }
    report(f"cache: {count:,} replies", samples, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", choices=CLIENTS)
    parser.add_argument("--url")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-litellm", action="store_true")
    options = parser.parse_args()
    if options.client:
        client = CLIENTS[options.client]
        taken = asyncio.run(client(options.url, options.calls, options.folder))
        options.out.write_text(json.dumps(taken))
        return
    names = [name for name in CLIENTS if name != "cached"]
    if options.no_litellm:
        names = [name for name in names if not name.startswith("litellm")]
    for latency in (0.0, 0.05):
        compare(latency, names, options.calls, options.rounds)
    cached(10_000)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
