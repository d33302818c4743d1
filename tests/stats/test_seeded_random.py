from zlib import crc32

from loomgit.stats.seeded_random import generator, seed


def test_a_seed_tells_tests_and_metrics_apart():
    assert seed("a", "bc") != seed("ab", "c")
    assert seed("suite::quality", "score") == crc32(b"suite::quality\0score")


def test_a_generator_is_the_same_on_every_machine():
    drawn = generator("suite::quality", "score").integers(0, 1000, 5).tolist()
    assert drawn == generator("suite::quality", "score").integers(0, 1000, 5).tolist()
    assert type(generator("a", "b").bit_generator).__name__ == "SFC64"
