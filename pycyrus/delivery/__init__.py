"""From an envelope to mailboxes: recipients, staging, the pipeline."""
