"""The plots of docs/patterns.md: small recordings, judged by the real pipeline, drawn as SVG.

``python -m docs.plots`` draws them anew, and writes what ``vramwatch replay`` says of each recording into the
pages that show it.
"""
