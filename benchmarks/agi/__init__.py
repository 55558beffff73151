"""Who asks over FastAGI, and who answers: ours, panoramisk, a server of constants, each a process of its own."""
