"""Messages made to be taken apart at great length, delivered and fetched."""

from __future__ import annotations

from pycyrus.test.abuse.case import AbuseCase

MEGABYTE = 1 << 20
MULTIPART = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n"

MESSAGES: dict[str, bytes] = {
    "100,000 parts": MULTIPART % b"b" + b"--b\r\n\r\nx\r\n" * 100_000 + b"--b--\r\n",
    "multiparts within multiparts": b"".join(MULTIPART % (b"%d" % n) + b"--%d\r\n" % n for n in range(10_000)),
    "messages within messages": b"Content-Type: message/rfc822\r\n\r\n" * 10_000,
    "the boundary of the outer within the inner": (MULTIPART % b"b" + b"--b\r\n") * 10_000,
    "boundaries that begin alike": MULTIPART % b"b" + b"".join(b"--%b\r\n" % (b"b" * n) for n in range(1500)),
    "no boundary": MULTIPART % b'""' + b"--\r\n" * 10_000,
    "a header of 30 MB": b"X-Filler: " * 3_000_000,
    "fields by the million": b"X: y\r\n" * 1_000_000,
    "100,000 addresses": b"To: " + b",\r\n ".join(b"a%d@example.com" % n for n in range(100_000)) + b"\r\n\r\n",
    "groups": b"To: " + b"g:a@b," * 50_000 + b";\r\n\r\n",
    "no sender": b"From: \r\nSender: ;\r\nReply-To: <>,,,\r\n\r\n",
    "a comment that does not end": b"From: " + b"(" * 100_000 + b"\\",
    "parameters in pieces": b"Content-Type: text/plain"
    + b"".join(b";\r\n a*%d*=x" % n for n in range(50_000))
    + b"\r\n\r\n",
    "a charset that is none": b'Content-Type: text/plain; charset="' + b"x" * 5000 + b'"\r\n\r\n\xff\xfe',
    "soft line ends": b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 1_000_000,
    "base64 without an end": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A" * 10_000_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?=61?= " * 100_000 + b"\r\n\r\n",
    "comments in a date": b"Date: " + b"(x)" * 100_000 + b"\r\n\r\n",
    "references": b"References: " + b"<a@b> " * 100_000 + b"\r\n\r\n",
    "one line of 20 MB": b"Subject: x\r\n\r\n" + b"x" * 20_000_000,
}


class MessageTests(AbuseCase):
    """Delivered by LMTP, and read by IMAP."""

    def test_whole_way(self) -> None:
        """Abuse case 31: each is delivered, listed, searched and given back, in bounded time and memory."""
        reader = self.user()
        with self.bounded_memory(160 * MEGABYTE), self.others_served():
            for what, message in MESSAGES.items():
                self.assertTrue(self.deliver(message).startswith(b"250 2.1.5"), what)
                reader.command(b"SELECT INBOX")
                reader.send(
                    b"t UID FETCH * (ENVELOPE BODYSTRUCTURE BODY RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT TO)])\r\n"
                )
                self.assertLess(reader.drain(b"\r\nt OK"), 2 * len(message) + 2000, what)
                for text in (b"BODY.PEEK[1.1.1.1]", b"BODY.PEEK[99999]", b"BINARY.PEEK[1]", b"BODY.PEEK[TEXT]<0.9>"):
                    reader.send(b"t UID FETCH * (%b)\r\n" % text)
                    reader.drain(b"\r\nt ")
                reader.send(b"t UID FETCH * BODY.PEEK[]\r\n")
                self.assertGreater(reader.drain(b"\r\nt OK"), len(message), what)
            self.assertTrue(reader.command(b"SEARCH OR TEXT absent FROM absent").startswith(b"t OK"))
