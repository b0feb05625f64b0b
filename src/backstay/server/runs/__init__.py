"""Run now: Puppet (or what the settings say) on chosen nodes over SSH, with progress and output kept.

    model.py     nouns
    judge.py     what an exit code means, and how a run stands (pure)
    output.py    what a program prints -> text of bounded length (pure)
    ssh.py       one node: log in, run, hear it out
    store.py     the tables, beside the server's; tables.py
    shell.py     Runs: asks for them, carries them out a few at a time, takes note of those whose server died

The command is the settings': who asks chooses nodes and gives a reason. docs/integrations.md tells how to set it up.
"""
