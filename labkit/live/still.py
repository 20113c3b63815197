"""A scene as a picture that stays: HTML that needs no script, no kernel and no network."""

from __future__ import annotations

import html
from pathlib import Path

from labkit.live.scene import WIDTH

STYLE = Path(__file__).with_name("live.css")


def picture(scene: dict, clock: str = "") -> str:
    """The scene as HTML that needs nothing else: no script, no kernel, no network."""
    parts = []
    for x, y, width, height, look in scene["panels"]:
        parts.append(
            f'<rect class="lk-panel {look}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
        )
    for _key, x, y, width, height, look, label, *fill in scene["boxes"]:
        inside = f'<rect class="lk-body" width="{width}" height="{height}" rx="3"/>'
        if fill:
            inside += (
                f'<rect class="lk-fill" width="{width * min(1, fill[0]):.1f}" height="{height}" rx="3"/>'
            )
        cross = f"M2 2L{width - 2} {height - 2}M2 {height - 2}L{width - 2} 2"
        inside += f'<path class="lk-notch" d="M0 0H9L0 9Z"/><path class="lk-cross" d="{cross}"/>'
        inside += f'<text x="{width / 2}" y="{height / 2 + 5}">{html.escape(label)}</text>'
        parts.append(f'<g class="lk-task {look}" transform="translate({x} {y})">{inside}</g>')
    for x, y, look, words in [*scene["words"], [WIDTH - 8, 20, "name end", clock]]:
        parts.append(f'<text class="lk-word {look}" x="{x}" y="{y}">{html.escape(words)}</text>')
    label = html.escape(scene["say"], quote=True)
    return (
        f'<div class="lk-live"><style>{STYLE.read_text(encoding="utf-8")}</style>'
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {scene["height"]}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg></div>'
    )
