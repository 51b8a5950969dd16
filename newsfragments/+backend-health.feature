Frontends look after backends that hang or are cut off: whoever waits for one is told within half a minute, and the next at once.
