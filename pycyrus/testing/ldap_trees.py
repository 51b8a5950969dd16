"""What directories of tests have in them: trees of several schemas, by the names that L{Slapd} has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PASSWORD = "secret"
"""Of everybody in the trees, and of their administrators."""

SCHEMA = """\
attributetype ( 1.3.6.1.4.1.55555.1.1 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.55555.1.2 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.55555.2.1 NAME 'adUser' SUP top AUXILIARY
  MAY ( sAMAccountName $ userPrincipalName ) )
objectclass ( 1.3.6.1.4.1.55555.2.2 NAME 'adGroup' SUP top STRUCTURAL
  MUST cn MAY ( member $ sAMAccountName ) )
attributetype ( 1.3.6.1.4.1.55555.1.3 NAME 'mailQuota' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.55555.1.4 NAME 'mailPartition' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.55555.1.5 NAME 'mailHost' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.55555.2.3 NAME 'mailAccount' SUP top AUXILIARY
  MAY ( mailQuota $ mailPartition $ mailHost ) )
objectclass ( 1.3.6.1.4.1.55555.2.4 NAME 'groupOfMembers' SUP top STRUCTURAL
  MUST cn MAY member )
objectclass ( 1.3.6.1.4.1.55555.2.5 NAME 'bisGroup' SUP top AUXILIARY
  MUST gidNumber MAY memberUid )
"""

_MEMBER_OF = """\
overlay memberof
memberof-group-oc {group}
memberof-member-ad {member}
memberof-memberof-ad memberOf
"""


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


def _bis() -> list[str]:
    """Unix accounts whose groups have names as members (RFC 2307bis)."""
    entries = _top("bis", "people", "groups")
    for number, name in enumerate(("alice", "bob"), 3000):
        unix = ("objectClass: posixAccount", f"uid: {name}", f"uidNumber: {number}", f"gidNumber: {number}")
        more = ("objectClass: mailAccount", "mailQuota: 20M", "mailPartition: fast", "mailHost: mail2.example.com")
        dn = f"uid={name},ou=people,dc=bis"
        entries.append(_person(dn, name, *unix, f"homeDirectory: /home/{name}", *(more if name == "alice" else ())))
    members = {
        "staff": ("uid=alice,ou=people,dc=bis", "uid=bob,ou=people,dc=bis"),
        "all": ("cn=staff,ou=groups,dc=bis",),
        "none": (),
    }
    for number, (group, names) in enumerate(members.items(), 4000):
        lines = [f"dn: cn={group},ou=groups,dc=bis", "objectClass: groupOfMembers", "objectClass: bisGroup"]
        entries.append("\n".join([*lines, f"cn: {group}", f"gidNumber: {number}", *(f"member: {dn}" for dn in names)]))
    return entries


def _lldap() -> list[str]:
    """As lldap shows its users: one unit for each, unique members, memberOf, and nobody reads without a bind."""
    entries = _top("lldap", "people", "groups")
    for name in ("admin", "alice", "bob"):
        unix = ("objectClass: mailAccount", f"uid: {name}", f"mail: {name}@lldap.example", f"displayName: {name}")
        entries.append(_person(f"uid={name},ou=people,dc=lldap", name, *unix))
    for group, member in (("lldap_admin", "admin"), ("mail_users", "alice"), ("lldap_strict_readonly", "bob")):
        dn = f"cn={group},ou=groups,dc=lldap"
        lines = ("objectClass: groupOfUniqueNames", f"cn: {group}", f"uniqueMember: uid={member},ou=people,dc=lldap")
        entries.append("\n".join([f"dn: {dn}", *lines]))
    return entries


def _odd() -> list[str]:
    """What is allowed, and hardly anybody thinks of."""
    entries = _top("odd", "people", "others")
    names = {
        r"cn=Doe\, John,ou=people": ("john",),
        r"cn=\#1 \"The Best\" \+ \<x\>\; y\\z,ou=people": ("best",),
        "cn=M\u00fcller+uid=Mueller,ou=people": ("Mueller",),
        "cn=Many,ou=people": ("Many", "MUCH", "more.often"),
        "cn=Twin,ou=people": ("twin",),
        "cn=Twin,ou=others": ("TWIN",),
        "cn=Real,ou=others": ("real",),
    }
    for dn, uids in names.items():
        # What is not ASCII stands in UTF-8 in names too.
        lines = [f"dn: {dn},dc=odd", "objectClass: inetOrgPerson", "sn: x", f"userPassword: {PASSWORD}"]
        entries.append("\n".join([*lines, *(f"uid: {uid}" for uid in uids)]))
    entries.append("dn: cn=Nopass,ou=people,dc=odd\nobjectClass: inetOrgPerson\nsn: x\nuid: nopass")
    entries.append(
        "dn: cn=Alias,ou=people,dc=odd\nobjectClass: alias\nobjectClass: extensibleObject\ncn: Alias\nuid: alias"
        "\naliasedObjectName: cn=Real,ou=others,dc=odd"
    )
    entries.append(
        "dn: ou=elsewhere,ou=people,dc=odd\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere"
        "\nref: ldap://127.0.0.1:1/ou=people,dc=odd"
    )
    return entries


@dataclass(frozen=True, slots=True)
class Tree:
    """
    One of them.

    @ivar entries: As LDIF.
    @ivar indexed: Attributes with an index.
    @ivar overlay: What else its configuration has.
    @ivar readers: Who may search.
    """

    entries: Callable[[], list[str]]
    indexed: str
    overlay: str = ""
    readers: str = "*"


TREES = {
    "rfc": Tree(_rfc, "uid,memberUid"),
    "gon": Tree(_gon, "uid,mail,member,memberOf", _MEMBER_OF.format(group="groupOfNames", member="member")),
    # Only those who have bound may search, as in Active Directory.
    "ad": Tree(
        _ad, "sAMAccountName,member,memberOf", _MEMBER_OF.format(group="adGroup", member="member"), readers="users"
    ),
    "bis": Tree(_bis, "uid,member"),
    "lldap": Tree(
        _lldap,
        "uid,mail,uniqueMember,memberOf",
        _MEMBER_OF.format(group="groupOfUniqueNames", member="uniqueMember"),
        readers="users",
    ),
    "odd": Tree(_odd, "uid"),
}
