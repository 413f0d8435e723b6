"""The shell: Faust agents on our own lane, the roles that group them, and the command line.

`lane/` is the road (Faust and Kafka, nothing of opt-in); `agents/` one file for each agent;
`roles.py` which agents form which process; `commands/` one file for each command.
Where to add the next thing: a new agent is a file in `agents/` and a row in `roles.py`.
"""
