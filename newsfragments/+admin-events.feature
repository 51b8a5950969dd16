Events are told of what administrators do by commands, among them MessageExpire.
