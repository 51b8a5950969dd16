OAUTHBEARER and XOAUTH2: access tokens checked with the authority's keys, or by asking it (``oauth_...``; needs ``pycyrus[oauth]``).
