SEARCH takes no notice of accents and compatibility forms, as `search_skipdiacrit`, `search_whitespace`, `search_skiphtml` and `search_maxtime` say.
