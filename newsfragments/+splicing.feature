A frontend passes large messages on without copying them, and a worker leaves the processor to others where they want it.
