"""OpenLDAP's slapd on the loopback, with the trees of three domains, each of its own schema."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pycyrus.net.selfsigned import generate
from pycyrus.testing.programs import ProgramFailed, find_program, run

PASSWORD = "secret"
"""Of everybody in the trees, and of their administrators."""

_SCHEMA = """\
attributetype ( 1.3.6.1.4.1.55555.1.1 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.55555.1.2 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.55555.2.1 NAME 'adUser' SUP top AUXILIARY
  MAY ( sAMAccountName $ userPrincipalName ) )
objectclass ( 1.3.6.1.4.1.55555.2.2 NAME 'adGroup' SUP top STRUCTURAL
  MUST cn MAY ( member $ sAMAccountName ) )
"""

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
include {directory}/ad.schema
pidfile {directory}/slapd.pid
argsfile {directory}/slapd.args
TLSCACertificateFile {directory}/directory.pem
TLSCertificateFile {directory}/directory.pem
TLSCertificateKeyFile {directory}/directory.key
TLSVerifyClient never
"""

_DATABASE = """
database mdb
suffix "dc={name}"
rootdn "cn=admin,dc={name}"
rootpw {password}
directory {directory}/{name}
maxsize 67108864
index objectClass,cn,{indexed} eq
{overlay}
access to attrs=userPassword by anonymous auth by * none
access to * by {readers} read by anonymous auth
"""

_MEMBER_OF = """\
overlay memberof
memberof-group-oc {group}
memberof-member-ad member
memberof-memberof-ad memberOf
"""

_TREES = {
    "rfc": ("uid,memberUid", "", "*"),
    "gon": ("uid,mail,member,memberOf", _MEMBER_OF.format(group="groupOfNames"), "*"),
    # Only those who have bound may search, as in Active Directory.
    "ad": ("sAMAccountName,member,memberOf", _MEMBER_OF.format(group="adGroup"), "users"),
}


def _top(name: str, *units: str) -> list[str]:
    entries = [f"dn: dc={name}\nobjectClass: domain\ndc: {name}"]
    return entries + [f"dn: ou={unit},dc={name}\nobjectClass: organizationalUnit\nou: {unit}" for unit in units]


def _person(dn: str, name: str, *more: str) -> str:
    lines = [f"dn: {dn}", "objectClass: inetOrgPerson", f"sn: {name}", f"userPassword: {PASSWORD}", *more]
    if not dn.startswith("cn="):
        lines.insert(2, f"cn: {name}")
    return "\n".join(lines)


def _rfc() -> list[str]:
    """Unix accounts (RFC 2307)."""
    entries = _top("rfc", "people", "groups")
    for number, name in enumerate(("alice", "bob", "carol"), 1000):
        entries.append(
            _person(
                f"uid={name},ou=people,dc=rfc",
                name,
                "objectClass: posixAccount",
                f"uid: {name}",
                f"uidNumber: {number}",
                f"gidNumber: {number}",
                f"homeDirectory: /home/{name}",
            )
        )
    groups = {"staff": "memberUid: alice\nmemberUid: bob", "admins": "memberUid: alice"}
    for number, (group, members) in enumerate(groups.items(), 2000):
        entries.append(
            f"dn: cn={group},ou=groups,dc=rfc\nobjectClass: posixGroup\ncn: {group}\ngidNumber: {number}\n{members}"
        )
    return entries


def _gon() -> list[str]:
    """People found by their mail address; groups of names, and groups of groups."""
    entries = _top("gon", "people", "twins", "groups")
    people = {"alice": "alice@gon.example", "dora": "dora@gon.example", "o'neil": "oneil@gon.example"}
    for name, mail in people.items():
        entries.append(_person(f"uid={name},ou=people,dc=gon", name, f"uid: {name}", f"mail: {mail}"))
    for number in (1, 2):
        entries.append(_person(f"uid=twin{number},ou=twins,dc=gon", "twin", "mail: twin@gon.example"))
    groups = {
        "team": "uid=alice,ou=people,dc=gon",
        "department": "cn=team,ou=groups,dc=gon",
        "company": "cn=department,ou=groups,dc=gon",
        # A circle.
        "loop": "cn=pool,ou=groups,dc=gon",
        "pool": "cn=loop,ou=groups,dc=gon",
    }
    for group, member in groups.items():
        entries.append(f"dn: cn={group},ou=groups,dc=gon\nobjectClass: groupOfNames\ncn: {group}\nmember: {member}")
    entries.append("dn: cn=loop,ou=groups,dc=gon\nchangetype: modify\nadd: member\nmember: uid=dora,ou=people,dc=gon")
    return entries


def _ad() -> list[str]:
    """As in Active Directory."""
    entries = _top("ad")
    entries.append("dn: cn=Users,dc=ad\nobjectClass: organizationalRole\ncn: Users")
    for name, account in (("Alice Liddell", "alice"), ("Eve", "eve"), ("Search", "search")):
        entries.append(
            _person(
                f"cn={name},cn=Users,dc=ad",
                name,
                "objectClass: adUser",
                f"cn: {name}",
                f"sAMAccountName: {account}",
                f"userPrincipalName: {account}@ad.example",
            )
        )
    for group, member in {"Mail Users": "Alice Liddell", "Postmasters": "Mail Users"}.items():
        dn = f"cn={group},cn=Users,dc=ad"
        entries.append(f"dn: {dn}\nobjectClass: adGroup\ncn: {group}\nmember: cn={member},cn=Users,dc=ad")
    return entries


class Slapd:
    """
    One server.

    @ivar certificate: What clients of C{ldaps} and StartTLS must trust; of C{localhost}.
    """

    def __init__(self, directory: Path) -> None:
        """
        Make its files; nothing runs yet.

        @param directory: Empty, its path short and absolute.
        @raise SkipTest: The programs are not installed.
        """
        self._slapd, self._add = find_program("slapd"), find_program("ldapadd")
        self._directory = directory
        self.certificate = directory / "directory.pem"
        generate(self.certificate, directory / "directory.key")
        (directory / "ad.schema").write_text(_SCHEMA)
        text = _CONFIGURATION.format(directory=directory)
        for name, (indexed, overlay, readers) in _TREES.items():
            (directory / name).mkdir()
            text += _DATABASE.format(
                name=name, password=PASSWORD, directory=directory, indexed=indexed, overlay=overlay, readers=readers
            )
        (directory / "slapd.conf").write_text(text)
        self.port, self.tls_port = _free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """In clear."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_uri(self) -> str:
        """With TLS from the start, by the name in the certificate."""
        return f"ldaps://localhost:{self.tls_port}"

    @property
    def local_uri(self) -> str:
        """By its Unix socket."""
        return "ldapi://" + str(self._directory / "ldapi").replace("/", "%2F")

    def start(self) -> None:
        """Run it; it answers when this returns."""
        with (self._directory / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._slapd, "-f", self._directory / "slapd.conf", "-d", "stats",
                    "-h", f"{self.uri} ldaps://127.0.0.1:{self.tls_port} {self.local_uri}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = (self._directory / "slapd.log").read_text("utf-8", "replace")
                    raise ProgramFailed(f"slapd does not come up: {text[-2000:]}") from None
                time.sleep(0.01)

    def load(self, *names: str) -> None:
        """Fill trees: those named, or all."""
        for name, entries in (("rfc", _rfc()), ("gon", _gon()), ("ad", _ad())):
            if not names or name in names:
                self.add(name, entries)

    def add(self, tree: str, entries: Sequence[str]) -> None:
        """Add entries, written as LDIF."""
        run(
            [self._add, "-x", "-H", self.uri, "-D", f"cn=admin,dc={tree}", "-w", PASSWORD],
            given=("\n\n".join(entries) + "\n").encode("utf-8"),
        )

    def log(self) -> str:
        """What it was asked."""
        return (self._directory / "slapd.log").read_text("utf-8", "replace")

    def hang(self) -> None:
        """Answer nothing any more; connections are still accepted, by the kernel."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it at once; its databases need nothing else."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
