"""The API role: REST, Server-Sent Events and metrics on port 8080.

One folder a feature (anomalies, streams, feed, health); features do not import each other. What they share
stands beside them: access, cursors, problems, filters.
"""
