"""Why panoramisk and ari-py are not used at run time, reproduced: `make peers`.

Each trial runs in a process of its own, because some of the defects stop the event loop for good, and puts the same
input to the peer and to our own code.
"""
