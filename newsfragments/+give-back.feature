A process that was large for a while, such as one with thousands of connections that held much, gives what is free back to the system as soon as it is quiet.
