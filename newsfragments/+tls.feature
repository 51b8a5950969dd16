TLS: certificates by the name that clients ask for (``tls_sni_dir``); sessions resume at any worker and after a reload
(``tls_session_timeout``).
