"""The frame of our HTML files: each holds all it needs, without a script, and loads nothing."""

from collections.abc import Iterable
from html import escape

from vramwatch.core.texts import clean

STYLE = """
:root{--ink:#1f2328;--faint:#59636e;--ground:#fff;--line:#d1d9e0;--bad:#cf222e;--warn:#9a6700;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9198a1;--ground:#0d1117;--line:#3d444d;
--bad:#ff7b72;--warn:#d29922;--good:#3fb950}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:940px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.35rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
.critical{color:var(--bad)}.warning{color:var(--warn)}.resolved{color:var(--good)}.faint{color:var(--faint)}
table{border-collapse:collapse;width:100%;font-size:.88rem}
td,th{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
pre{overflow-x:auto;font-size:.8rem;border:1px solid var(--line);padding:.6rem}
svg{width:100%;height:auto;display:block}
figure{margin:.8rem 0}figcaption{font-size:.82rem}
.key{color:var(--faint);margin-left:.8rem;white-space:nowrap}
.key::before{content:"";display:inline-block;width:1rem;height:.2rem;margin-right:.3rem;
vertical-align:middle;background:currentColor}
.key.c0::before{background:#0969da}.key.c1::before{background:#bf8700}.key.c2::before{background:#1a7f37}
.key.c3::before{background:#bf3989}.key.c4::before{background:#8250df}.key.c5::before{background:#57606a}
svg text{font:11px system-ui,sans-serif;fill:var(--faint)}
svg .end{text-anchor:end}svg .middle{text-anchor:middle}svg path{fill:none}
svg .grid{stroke:var(--line);stroke-width:.6}svg .level{stroke:var(--ink);stroke-dasharray:6 4}
svg .mark{stroke:var(--faint);stroke-dasharray:3 3}svg .mark.firing,svg .mark.out{stroke:var(--bad)}
svg .mark.resolved{stroke:var(--good)}
svg .line{stroke-width:1.4;stroke-linejoin:round}
svg .band{fill-opacity:.18;stroke:none}
svg .c0{stroke:#0969da}svg .band.c0{fill:#0969da}svg .c1{stroke:#bf8700}svg .band.c1{fill:#bf8700}
svg .c2{stroke:#1a7f37}svg .band.c2{fill:#1a7f37}svg .c3{stroke:#bf3989}svg .band.c3{fill:#bf3989}
svg .c4{stroke:#8250df}svg .band.c4{fill:#8250df}svg .c5{stroke:#57606a}svg .band.c5{fill:#57606a}
svg .forecast{stroke:#cf222e;stroke-dasharray:4 3}svg .band.forecast{fill:#cf222e}
svg .band{stroke:none}
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy of the file: a browser that opens it loads nothing, whatever names it holds."""


def document(title: str, parts: Iterable[str], more_style: str = "") -> str:
    """Return a whole page of ``parts``, which are HTML; ``title`` is text that others may have chosen."""
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{text(title)}</title>",
            f"<style>{STYLE}{more_style}</style></head><body>",
            *parts,
            "</body></html>\n",
        )
    )


def section(name: str, content: str) -> tuple[str, ...]:
    """Return ``content`` below its heading; empty where there is none."""
    return (f"<h2>{escape(name)}</h2>", content) if content else ()


def text(foreign: str) -> str:
    """Return a text that others may have chosen as HTML that is only text."""
    return escape(clean(foreign))
