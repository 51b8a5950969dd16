"""What twistd finds of pycyrus: the server, and the protocols that cyrus.conf can name."""

from twisted.application.service import ServiceMaker

from pycyrus.app.mail_service import MailService

pycyrus = ServiceMaker("pycyrus", "pycyrus.app.plugin", "A mail store: IMAP, POP3 and LMTP, as Cyrus IMAP.", "pycyrus")

imapd = MailService("imapd", "pycyrus.app.services.imapd")
lmtpd = MailService("lmtpd", "pycyrus.app.services.lmtpd")
mupdate = MailService("mupdate", "pycyrus.app.services.mupdate")
pop3d = MailService("pop3d", "pycyrus.app.services.pop3d")
timsieved = MailService("timsieved", "pycyrus.app.services.timsieved")
smmapd = MailService("smmapd", "pycyrus.app.services.smmapd")
