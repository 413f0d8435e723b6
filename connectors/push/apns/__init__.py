"""Apple Push Notification service over HTTP/2, with a provider token (a JWT signed with the team's key).

`sender` is the way in. `request` builds what is sent, `connection` sends it, `answers` says what comes of it.
"""
