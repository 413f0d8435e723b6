"""Third-party stand-ins of push providers as processes, and a proxy that disturbs the way there."""
