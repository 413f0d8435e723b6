"""Firebase Cloud Messaging, HTTP v1 API.

`sender` is the way in. `message` builds what is sent with firebase-admin's own classes, `answers` says what
comes of it, `access` keeps the access token fresh.
"""
