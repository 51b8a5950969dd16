Each delivery may be told to a notification daemon: ``mailnotifier``, and MessageNew of RFC 5423 with ``event_notifier``.
