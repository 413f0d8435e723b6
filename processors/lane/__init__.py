"""The road: Faust agents made safe and fast by chunks, transactions and exact positions.

Knows Faust's and aiokafka's internals and nothing of opt-in. One Faust event is a chunk, the records of
one partition. One transaction moves outputs, state and source positions together, or not at all.

`transport`  brings chunks, exactly where the position stands.
`lane`       one task per partition number: fold chunks and due timers, commit, then apply.
`table`      rows and positions of owned partitions; `changelog` reads them back in bulk.
`writer`     one transactional producer per partition: the broker decides who owns it.
`markers`    a commit is a marker, not an answer; `leaders` asks Kafka for them and writes what it forgot.
`recovery`   on assignment: claim, settle, read, seek, resume. In this order.
`merge`      the event clock's order over several topics.
`watchdog`   ends a process that has work and does none.

Where to add the next thing: an agent's meaning belongs in `processors/agents`, never here.
"""
