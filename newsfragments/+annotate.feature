Messages have annotations (ANNOTATE-EXPERIMENT-1), with the options ``annotation_definitions`` and ``annotation_allow_undefined``.
