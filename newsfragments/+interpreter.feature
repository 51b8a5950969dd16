``bin/run`` and ``bin/test`` take the distribution's Python where it is new enough: it is compiled for speed.
