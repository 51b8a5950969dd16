"""
The seams of pycyrus: read this first.

Protocols see nothing below but these.  Each method says what it raises; every
provider has a C{verifyObject} test.  Methods written C{async} may wait for a
disk or a network; the others touch memory and the page cache only, and may be
called on a hot path.

The folder has a file for each subject; everything is imported from here.
"""

from pycyrus.interfaces.authentication import (
    Authenticated,
    Challenge,
    Channel,
    IAuthenticator,
    ISaslExchange,
    KeyingMaterial,
)
from pycyrus.interfaces.autocreation import IAutocreation
from pycyrus.interfaces.defaults import IUserDefaults, UserDefaults
from pycyrus.interfaces.delivery import (
    Arrival,
    Envelope,
    IDelivery,
    IDeliveryAgent,
    IDeliveryObserver,
    IRecipientVerifier,
    Recipient,
)
from pycyrus.interfaces.directory import (
    ILocations,
    IMailboxDirectory,
    IMailboxPublisher,
    Location,
    LocationChange,
    LocationState,
    Published,
)
from pycyrus.interfaces.events import IEventSink, IEventSinkFactory, ISessionWatch, IStoreObserver, SessionFacts
from pycyrus.interfaces.mailboxes import IMailbox, IMailStore, IMessageFile
from pycyrus.interfaces.maildrops import IMaildropClaims, LoginTooSoon
from pycyrus.interfaces.messages import IStaged, NewMessage
from pycyrus.interfaces.results import Appended, Copied, Counts, Expunged, MailboxListing, MailboxStatus, Stored
from pycyrus.interfaces.services import IMailService
from pycyrus.interfaces.transfers import IDumpIntake, ISyncFile, ISyncIntake, ITransferIntake, ITransfers, Moved
from pycyrus.model.scopes import ListScope, Namespace

__all__ = [
    "Appended",
    "Arrival",
    "Authenticated",
    "Challenge",
    "Channel",
    "Copied",
    "Counts",
    "Envelope",
    "Expunged",
    "IAuthenticator",
    "IAutocreation",
    "IDelivery",
    "IDeliveryAgent",
    "IDeliveryObserver",
    "IDumpIntake",
    "IEventSink",
    "IEventSinkFactory",
    "ILocations",
    "IMailService",
    "IMailStore",
    "IMailbox",
    "IMailboxDirectory",
    "IMailboxPublisher",
    "IMaildropClaims",
    "IMessageFile",
    "IRecipientVerifier",
    "ISaslExchange",
    "ISessionWatch",
    "IStaged",
    "IStoreObserver",
    "ISyncFile",
    "ISyncIntake",
    "ITransferIntake",
    "ITransfers",
    "IUserDefaults",
    "KeyingMaterial",
    "ListScope",
    "Location",
    "LocationChange",
    "LocationState",
    "LoginTooSoon",
    "MailboxListing",
    "MailboxStatus",
    "Moved",
    "Namespace",
    "NewMessage",
    "Published",
    "Recipient",
    "SessionFacts",
    "Stored",
    "UserDefaults",
]
