"""Draws every plot anew, and writes what ``vramwatch replay`` says into the pages.

The recordings stay in build/recordings, to be replayed by hand.
"""

from pathlib import Path

from docs.plots.drawing import draw
from docs.plots.examples import DRAWN, EXAMPLES
from docs.plots.pages import names, refreshed, replays
from docs.plots.playing import play
from docs.plots.recording import recording

PLOTS = Path(__file__).parent
ROOT = PLOTS.parents[1]
PAGES = (ROOT / "README.md", PLOTS.parent / "detection.md", PLOTS.parent / "patterns.md")
RECORDINGS = ROOT / "build" / "recordings"


def main() -> None:
    RECORDINGS.mkdir(parents=True, exist_ok=True)
    recorded = {name: RECORDINGS / f"{name}.csv" for name in EXAMPLES}
    for name, file in recorded.items():
        file.write_text(recording(EXAMPLES[name]))
    for name in DRAWN:
        played = play(EXAMPLES[name], recorded[name])
        (PLOTS / f"{name}.svg").write_text(draw(name, EXAMPLES[name], played))
    for page in PAGES:
        text = page.read_text()
        if shown := dict.fromkeys(names(text)):
            page.write_text(refreshed(text, replays([recorded[name] for name in shown])))


if __name__ == "__main__":
    main()
