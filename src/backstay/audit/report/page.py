"""A story as one page of HTML: everything in it, no script, nothing fetched."""

from __future__ import annotations

from html import escape

from backstay.audit.report.plots import svg
from backstay.audit.report.story import Section, Story

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c1f23;--soft:#5b626b;--line:#d7dbe0;--mark:#eef3fa}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e6e8ea;--soft:#a3abb4;--line:#353b42;--mark:#1e2833}}
body{background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
body{margin:0 auto;padding:1.5rem;max-width:60rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:1.5rem 0 .4rem}
.said{background:var(--mark);border-left:4px solid #0072b2;font-size:1.1rem;padding:.7rem 1rem}
figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.9rem}svg{height:auto;width:100%}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{border-bottom:1px solid var(--line);padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top}
ul{margin:.2rem 0;padding-left:1.2rem}footer{color:var(--soft);font-size:.85rem;margin-top:2rem}
"""


def as_html(story: Story, footer: str = "") -> str:
    """The page. `footer`: which files, from when to when."""
    sections = "".join(_section(section) for section in story.sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(story.title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(story.title)}</h1><p class="said">{escape(story.sentence)}</p>'
        f"<figure>{svg(story.chart)}<figcaption>{escape(story.chart.title)}</figcaption></figure>"
        f"{sections}</main><footer>{escape(footer)}</footer></body></html>\n"
    )


def _section(section: Section) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in section.lines)
    parts = [f"<section><h2>{escape(section.heading)}</h2>", f"<ul>{lines}</ul>" if lines else ""]
    if section.rows:
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in section.header)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in section.rows)
        parts.append(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')
    return "".join([*parts, "</section>"])
