"""The signs of results. They have the same meaning as the colors of a terminal."""

OK, BAD, SKIPPED = "✅", "❌", "⚠️"
