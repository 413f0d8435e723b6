"""Web Push (RFC 8030) to browsers: encrypted for the subscriber (RFC 8291), signed by us (VAPID, RFC 8292).

`sender` is the way in. `subscription` reads addresses, `vapid` signs.
"""
