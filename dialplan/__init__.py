"""What Asterisk is given: the guarded subroutine, and packs around it for a plain Asterisk, FreePBX and MikoPBX.

Installed as `vochi_agent.dialplan`; `vochi_agent.asterisk.packs` renders it for a configuration.
"""
