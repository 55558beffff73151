"""The PBX as we meet it: AMI, FastAGI, CEL, and the translation of what they say into facts."""
