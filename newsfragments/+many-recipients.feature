A message for many recipients takes a fifth less of the processor's time; and while messages come one after another, cached items are made more sparingly.
