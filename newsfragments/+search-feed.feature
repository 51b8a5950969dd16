Texts of new messages are made ready for searches within seconds after they came (``search_feed``).
