"""The API role: REST, Server-Sent Events and metrics on port 8080."""
