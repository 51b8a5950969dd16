"""A checker that reads lines of C{user salt hash} from a file."""

import hashlib
import hmac
from pathlib import Path

from twisted.cred.error import UnauthorizedLogin
from typing_extensions import override
from zope.interface import implementer

from pycyrus.auth.checkers.password_checker import PasswordChecker
from pycyrus.auth.interfaces import CheckerContext, ICheckerFactory, IMailPassword, Run
from pycyrus.errors import AuthenticationUnavailable


def _hash(password: bytes, salt: bytes) -> str:
    return hashlib.scrypt(password, salt=salt, n=16384, r=8, p=1).hex()


class LinesChecker(PasswordChecker):
    """Looks the file through at each login; the cache above makes that seldom."""

    def __init__(self, path: Path, run: Run) -> None:
        self._path = path
        self._run = run

    @override
    async def check(self, credentials: IMailPassword) -> str:
        """Give the user id back, if the password is right."""
        # In another thread: reading a file and computing scrypt would hold everybody up.
        user_id: str = credentials.user_id
        if not await self._run(lambda: self._is_right(user_id, credentials.password)):
            raise UnauthorizedLogin("unknown, or wrong password")
        return user_id

    def _is_right(self, user_id: str, password: bytes) -> bool:
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except OSError as error:
            raise AuthenticationUnavailable(f"{self._path}: {error.strerror}") from error
        known = {user: (salt, expected) for user, salt, expected in (line.split() for line in lines)}
        # Somebody unknown costs a hash too, which no password has.
        salt, expected = known.get(user_id, ("00", ""))
        return hmac.compare_digest(_hash(password, bytes.fromhex(salt)), expected)


@implementer(ICheckerFactory)
class LinesCheckerFactory:
    """C{sasl_pwcheck_method: lines}."""

    name = "lines"
    summary = "users.txt in the configuration directory"

    def make_checker(self, context: CheckerContext) -> LinesChecker:
        """Made once per process, before anybody logs in."""
        return LinesChecker(context.directory / "users.txt", context.run)
