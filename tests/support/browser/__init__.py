"""A real browser with a web app in it: page, service worker, and what a person does to notifications."""
