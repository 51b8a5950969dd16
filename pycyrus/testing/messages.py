"""
Realistic messages, made up, for tests and benchmarks.

The same seed gives the same messages on every machine.
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

_VOCABULARY: Final = """
    time year people way day man thing woman life child world school state family student group country problem hand
    part place case week company system program question work government number night point home water room mother
    area money story fact month lot right study book eye job word business issue side kind head house service friend
    father power hour game line end member law car city community name president team minute idea body information
    back parent face others level office door health person art war history party result change morning reason
    research girl guy moment air teacher force education invoice meeting report budget release schedule contract
    review server mailbox backup network printer holiday lunch project customer order delivery payment please thanks
    regards about after again before between during under with without from into over that this which would could
"""
_WORDS: Final = tuple(_VOCABULARY.split())
_GIVEN: Final = (
    "Anna", "Ben", "Carla", "David", "Elena", "Frank", "Greta", "Hugo", "Ines", "Jan", "Karin", "Leo", "Maria", "Nils",
)  # fmt: skip
_FAMILY: Final = ("Adams", "Becker", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Huber", "Ivanov", "Jensen")
_DOMAINS: Final = ("example.com", "example.org", "example.net", "mail.example.com", "lists.example.org")
_FOREIGN: Final[tuple[tuple[str, str], ...]] = (
    ("utf-8", "Grüße aus München, die Rechnung für März liegt bei"),
    ("iso-8859-1", "Très bientôt l'été, réponse à votre évaluation"),
    ("koi8-r", "Добрый день, отчёт готов к проверке"),
    ("iso-2022-jp", "会議の資料を送ります"),
    ("windows-1252", "Das „Angebot“ über 200 € ist gültig bis Montag"),
    ("big5", "請查收附件的會議紀錄"),
    ("utf-8", "Καλημέρα, η συνάντηση είναι αύριο"),
)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ATTACHMENTS: Final = (
    ("application/pdf", "invoice", "pdf"),
    ("image/jpeg", "photo", "jpg"),
    ("application/zip", "archive", "zip"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "minutes", "docx"),
)


def generate(count: int, seed: int = 1) -> Iterator[bytes]:
    """
    Make messages, with CRLF line ends and without NUL.

    @param count: How many.
    @param seed: Which.
    """
    random = Random(seed)
    for number in range(count):
        yield _Writer(random, number).message()


class _Writer:
    """Writes one message."""

    def __init__(self, random: Random, number: int) -> None:
        self.random = random
        self.number = number
        self.boundaries = 0

    def message(self) -> bytes:
        """Choose a form and write it."""
        forms = (self._text, self._alternative, self._mixed, self._eight_bit, self._html, self._forward, self._related)
        (form,) = self.random.choices(forms, (30, 25, 18, 8, 8, 5, 6))
        return self._header() + form()

    # --- header

    def _words(self, least: int, most: int) -> str:
        return " ".join(self.random.choices(_WORDS, k=self.random.randint(least, most)))

    def _address(self) -> str:
        random = self.random
        given, family = random.choice(_GIVEN), random.choice(_FAMILY)
        mailbox = f"{given.lower()}.{family.lower()}@{random.choice(_DOMAINS)}"
        form = random.random()
        if form < 0.55:
            return f"{given} {family} <{mailbox}>"
        if form < 0.75:
            return f'"{family}, {given}" <{mailbox}>'
        if form < 0.9:
            return mailbox
        return f"{_encoded_word('utf-8', f'{given} Müller-{family}')} <{mailbox}>"

    def _address_list(self, most: int) -> str:
        return ",\r\n\t".join(self._address() for _ in range(self.random.randint(1, most)))

    def _subject(self) -> str:
        subject = self._words(2, 8).capitalize()
        if self.random.random() < 0.3:
            subject = f"Re: {subject}"
        if self.random.random() < 0.2:
            return _encoded_word(*self.random.choice(_FOREIGN))
        return subject

    def _date(self) -> str:
        random = self.random
        zone = random.choice(("+0000", "+0100", "-0500", "+0200 (CEST)", "-0800 (PST)", "GMT"))
        day = self.number % 28
        return (
            f"{_DAYS[(day + 3) % 7]}, {day + 1} {_MONTHS[self.number // 28 % 12]} {2015 + self.number // 336 % 10}"
            f" {random.randrange(24):02}:{random.randrange(60):02}:{random.randrange(60):02} {zone}"
        )

    def _message_id(self) -> str:
        return f"<{self.random.getrandbits(64):016x}.{self.number}@{self.random.choice(_DOMAINS)}>"

    def _header(self) -> bytes:
        random = self.random
        date = self._date()
        lines = [f"Return-Path: <{random.choice(_GIVEN).lower()}@{random.choice(_DOMAINS)}>"]
        for hop in range(random.randint(1, 5)):
            lines.append(
                f"Received: from mx{hop}.example.net (mx{hop}.example.net [192.0.2.{random.randrange(1, 255)}])\r\n"
                f"\tby relay{hop}.example.org (Postfix) with ESMTPS id {random.getrandbits(40):010X}\r\n"
                f"\tfor <user@example.com>; {date}"
            )
        if random.random() < 0.6:
            lines.append(self._signature())
        lines.append(f"Date: {date}")
        lines.append(f"From: {self._address()}")
        lines.append(f"To: {self._address_list(20 if random.random() < 0.1 else 3)}")
        if random.random() < 0.25:
            lines.append(f"Cc: {self._address_list(4)}")
        lines.append(f"Subject: {self._subject()}")
        lines.append(f"Message-ID: {self._message_id()}")
        if random.random() < 0.4:
            references = [self._message_id() for _ in range(random.randint(1, 8))]
            lines.append(f"In-Reply-To: {references[-1]}")
            lines.append("References: " + "\r\n ".join(references))
        if random.random() < 0.2:
            lines.append(f"List-Id: <{random.choice(_WORDS)}.lists.example.org>")
            lines.append("List-Unsubscribe: <mailto:leave@lists.example.org>,\r\n\t<https://lists.example.org/leave>")
            lines.append("Precedence: list")
        lines.append(f"User-Agent: {random.choice(('Mutt/2.2.9', 'Thunderbird 115.6', 'Mailer 16.0'))}")
        lines.append("MIME-Version: 1.0")
        return "\r\n".join(lines).encode("ascii") + b"\r\n"

    def _signature(self) -> str:
        letters = base64.b64encode(self.random.randbytes(128 + 32)).decode("ascii")
        cut = [letters[start : start + 68] for start in range(0, len(letters), 68)]
        return (
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;\r\n"
            "\th=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh="
            + letters[:43]
            + "=;\r\n\tb="
            + "\r\n\t ".join(cut)
        )

    # --- bodies

    def _paragraphs(self) -> str:
        random = self.random
        lines = []
        for _ in range(random.randint(1, 8)):
            quote = "> " if random.random() < 0.15 else ""
            lines += [quote + self._words(6, 12) for _ in range(random.randint(1, 6))]
            lines.append("")
        return "\r\n".join(lines) + "\r\n"

    def _text(self) -> bytes:
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + self._paragraphs().encode("ascii")

    def _eight_bit(self) -> bytes:
        charset, sentence = self.random.choice(_FOREIGN)
        text = "".join(f"{sentence}.\r\n{self._words(5, 12)}\r\n" for _ in range(self.random.randint(1, 12)))
        return b"".join(_text_part("plain", charset, text, "8bit" if charset != "iso-2022-jp" else "7bit"))

    def _html(self) -> bytes:
        return b"".join(_text_part("html", "utf-8", self._markup(), "quoted-printable"))

    def _markup(self) -> str:
        rows = "".join(
            f'<p style="margin:0 0 {self.random.randrange(20)}px;color:#333"><b>{self._words(1, 3)}</b> '
            f"{self._words(8, 30)} &amp; {self._words(2, 5)}</p>\r\n"
            for _ in range(self.random.randint(3, 25))
        )
        return (
            "<!DOCTYPE html>\r\n<html><head><style>\r\np { font: 12px sans-serif }\r\n</style></head><body>\r\n"
            f"{rows}<p>{self.random.choice(_FOREIGN)[1]}</p></body></html>\r\n"
        )

    def _alternative(self) -> bytes:
        plain = _text_part("plain", "utf-8", self._paragraphs(), "quoted-printable")
        rich = _text_part("html", "utf-8", self._markup(), self.random.choice(("quoted-printable", "base64")))
        return self._multipart("alternative", [b"".join(plain), b"".join(rich)])

    def _mixed(self) -> bytes:
        parts = [self._text() if self.random.random() < 0.5 else self._alternative()]
        parts += [self._attachment() for _ in range(self.random.randint(1, 3))]
        return self._multipart("mixed", parts)

    def _related(self) -> bytes:
        rich = b"".join(_text_part("html", "utf-8", self._markup(), "base64"))
        image = (
            b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <logo@example.org>\r\n"
            b'Content-Disposition: inline; filename="logo.png"\r\n\r\n' + self._octets(3_000)
        )
        return self._multipart("related", [rich, image])

    def _forward(self) -> bytes:
        inner = _Writer(self.random, self.number)
        inner.boundaries = 100
        message = inner._header() + (inner._text() if self.random.random() < 0.5 else inner._mixed())
        forwarded = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + message
        return self._multipart("mixed", [self._text(), forwarded])

    def _attachment(self) -> bytes:
        media_type, stem, extension = self.random.choice(_ATTACHMENTS)
        if self.random.random() < 0.2:
            name = f"filename*0*=utf-8''{stem}%C3%A4;\r\n\tfilename*1={self.number}.{extension}"
        else:
            name = f'filename="{stem} {self.number}.{extension}"'
        header = (
            f'Content-Type: {media_type};\r\n\tname="{stem} {self.number}.{extension}"\r\n'
            f"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; {name}\r\n\r\n"
        )
        return header.encode("ascii") + self._octets(self.random.choice((2_000, 8_000, 30_000)))

    def _octets(self, most: int) -> bytes:
        data = self.random.randbytes(self.random.randint(most // 4, most))
        return base64.encodebytes(data).replace(b"\n", b"\r\n")

    def _multipart(self, subtype: str, parts: Sequence[bytes]) -> bytes:
        self.boundaries += 1
        boundary = f"----=_Part_{self.number}_{self.boundaries}.{self.random.getrandbits(48):012x}".encode("ascii")
        start = f'Content-Type: multipart/{subtype};\r\n\tboundary="'.encode("ascii") + boundary + b'"\r\n\r\n'
        if self.boundaries == 1 and self.random.random() < 0.5:
            start += b"This is a multi-part message in MIME format.\r\n"
        return start + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def _text_part(subtype: str, charset: str, text: str, encoding: str) -> tuple[bytes, bytes]:
    """A text part's header, its blank line included, and its body."""
    header = (
        f'Content-Type: text/{subtype}; charset="{charset}"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    ).encode("ascii")
    body = text.encode(charset)
    if encoding == "quoted-printable":
        body = quopri.encodestring(body.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    elif encoding == "base64":
        body = base64.encodebytes(body).replace(b"\n", b"\r\n")
    return header, body


def _encoded_word(charset: str, text: str) -> str:
    """RFC 2047, cut to words of bounded length."""
    words = []
    for start in range(0, len(text), 14):
        letters = base64.b64encode(text[start : start + 14].encode(charset)).decode("ascii")
        words.append(f"=?{charset}?B?{letters}?=")
    return "\r\n ".join(words)
