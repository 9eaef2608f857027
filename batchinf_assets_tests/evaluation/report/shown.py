"""What a reader sees of a page: its texts, its links, and what it would fetch."""

from __future__ import annotations

from html.parser import HTMLParser

FETCHING = ("src", "srcset", "data", "action", "background", "poster", "xlink:href")


class Shown(HTMLParser):
    """A page as it is read.

    Attributes:
        texts: Everything between tags, without styles.
        tags: Every element's name.
        hrefs: Where links lead.
        fetched: Attributes that make a browser fetch something.
    """

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.hrefs: list[str] = []
        self.fetched: list[str] = []
        self._in_style = False
        self.feed(page.decode())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_style = tag == "style"
        for name, value in attrs:
            if name == "href":
                self.hrefs.append(value or "")
            if name in FETCHING and not (value or "").startswith("#"):
                self.fetched.append(f"{name}={value}")

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.texts.append(data)
