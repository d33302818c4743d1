"""Measures the cost of model calls: 1,000 calls, 50 at once, at latencies of 0 and 50 ms.

The clients are a bare aiohttp script, Loom's direct lane, Loom's whole chain of gateways (retries,
rate limits, cache), Loom's litellm lane, and litellm without Loom. The clients run in turn. Each
client and the server run in separate processes. The CPU time is the client's time from the first
call to the last call. Then the script measures 10,000 replies from the cache. `commands.py`
measures whole commands.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path

from measure import PYTHON, ROOT, Sample, median, parse, report, run

CONCURRENCY = 50
MODEL = "gpt-4o-mini"
SERVER = ROOT / "tests" / "servers" / "openai_server.py"
FILLER = "Classify this review as positive, negative or neutral; answer with one word. " * 5
TEXT = FILLER + "Review: it is great, number {}."

Call = Callable[[int], Awaitable[object]]


async def timed(count: int, call: Call) -> dict[str, float]:
    """Make `count` calls, `CONCURRENCY` at once; return the seconds as `wall` and `cpu`."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    started, before = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return {"wall": time.perf_counter() - started, "cpu": time.process_time() - before}


async def bare(url: str, count: int, _: Path) -> dict[str, float]:
    """Measure a minimal client, which posts the request, parses the reply and returns the text."""
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
    """Measure litellm without Loom: concurrent calls of `acompletion`."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    async def call(number: int) -> str:
        messages = [{"role": "user", "content": TEXT.format(number)}]
        reply = await litellm.acompletion(
            model=MODEL, messages=messages, base_url=url, api_key="none", max_retries=0
        )
        return reply.choices[0].message.content

    await call(-1)  # litellm loads modules at its first call
    return await timed(count, call)


def loom(part: str) -> Callable[[str, int, Path], Awaitable[dict[str, float]]]:
    """Return a client for a part of Loom: a lane alone, or the whole chain of gateways."""

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
        seconds = await timed(count, call)
        await gateway.close()
        return seconds

    return measure


CLIENTS = {
    "bare aiohttp": bare,
    "direct lane": loom("direct lane"),
    "whole chain": loom("whole chain"),
    "litellm lane": loom("litellm lane"),
    "litellm gathered": litellm,
    "cached": loom("cached"),
}


def child(name: str, url: str, count: int, folder: Path) -> dict[str, float]:
    """Run a client in its own process; return `wall` and `cpu` in seconds, and `peak` in MB."""
    command = [PYTHON, __file__, "--client", name, "--url", url, "--calls", str(count)]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as figures:
        process = run([*command, "--folder", str(folder), "--out", figures.name])
        return {**json.load(figures), "peak": process.peak}


@contextmanager
def serving(latency: float):
    """Run the server in its own process, and yield its address."""
    command = [PYTHON, str(SERVER), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def count_calls(url: str) -> int:
    """Return the number of calls that the server received."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as response:
        return int(json.load(response)["calls"])


def compare(latency: float, names: list[str], calls: int, rounds: int) -> None:
    """Measure all clients at one latency. In each round, the clients run in turn."""
    samples_of: dict[str, list[Sample]] = {name: [] for name in names}
    with serving(latency) as url:
        for _ in range(rounds):
            for name in names:
                before = count_calls(url)
                with tempfile.TemporaryDirectory() as folder:
                    samples_of[name].append(Sample(**child(name, url, calls, Path(folder))))
                assert count_calls(url) - before == calls + 1, f"{name}: wrong number of calls"
    samples = {name: median(each) for name, each in samples_of.items()}
    wire, figures = samples["bare aiohttp"], {}
    for name, sample in samples.items():
        figures[f"{name}: CPU ms per call"] = 1000 * sample.cpu / calls
        if name != "bare aiohttp":
            figures[f"{name}: CPU ms per call over bare aiohttp"] = (
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
    """Measure the same calls twice: first the server answers, then the cache."""
    with tempfile.TemporaryDirectory() as folder, serving(0.0) as url:
        first = Sample(**child("cached", url, count, Path(folder)))
        assert count_calls(url) == count, "wrong number of calls"
        second = Sample(**child("cached", url, count, Path(folder)))
        assert count_calls(url) == count, "a call with a cached reply reached the server"
    samples = {"from the server": first, "from the cache": second}
    figures = {
        "ms per reply from the cache": 1000 * second.wall / count,
        "peak MB (limit 150)": second.peak,
    }
    report(f"cache: {count:,} replies", samples, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", choices=CLIENTS)
    parser.add_argument("--url")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--cached", type=int, default=10_000, metavar="CALLS")
    parser.add_argument("--latencies", type=float, nargs="+", default=[0.0, 0.05])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-litellm", action="store_true")
    options = parse(parser, calls=20, cached=20, latencies=[0.01], rounds=1)
    if options.client:
        client = CLIENTS[options.client]
        seconds = asyncio.run(client(options.url, options.calls, options.folder))
        options.out.write_text(json.dumps(seconds))
        return
    names = [name for name in CLIENTS if name != "cached"]
    if options.no_litellm:
        names = [name for name in names if not name.startswith("litellm")]
    for latency in options.latencies:
        compare(latency, names, options.calls, options.rounds)
    cached(options.cached)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
