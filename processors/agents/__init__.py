"""The agents, one file each: what a topic's facts do to a role's rows, in the core's words.

An agent is two things: a handler (pure calls into the core, given to a lane) and an ordinary Faust agent
that feeds its chunks to that lane. `intake` reads records for all of them.
"""
