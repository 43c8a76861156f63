"""What a person is told once Driftlock runs: addresses, the first key, and lines to copy."""

from __future__ import annotations

from dataclasses import dataclass

from driftlock.runtime.settings import Settings

_SHOWN_FOR_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, slots=True)
class Running:
    """A started Driftlock. `first_key` is set on the first start of a database only."""

    settings: Settings
    first_key: str | None

    def lines(self, *, command: str = "driftlock") -> list[str]:
        """The text, line by line. `command` is how this program is called."""
        told = self.settings
        host = _SHOWN_FOR_ANY.get(told.host, f"[{told.host}]" if ":" in told.host else told.host)
        api = f"http://{host}:{told.api_port}"
        otlp_http = f"http://{host}:{told.otlp_http_port}"
        key = self.first_key or told.dev_api_key or "YOUR_KEY"
        auth = f'-H "Authorization: Bearer {key}"'
        endpoint = "" if told.otlp_http_port == 4318 else f" --endpoint {otlp_http}"
        return [
            "Driftlock is running.",
            "",
            f"  API         {api}",
            f"  OTLP        gRPC http://{host}:{told.otlp_grpc_port}   HTTP {otlp_http}",
            f"  Data        {told.folder}",
            *self._key_lines(command),
            "",
            "Send data:",
            f"  {command} send FILE.log --service my-service{endpoint}",
            "  OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf "
            f"OTEL_EXPORTER_OTLP_ENDPOINT={otlp_http} my-application",
            "",
            "See anomalies:",
            f"  curl -s {auth} {api}/v1/anomalies",
            f"  curl -sN {auth} {api}/v1/stream/anomalies",
            "",
            "Ctrl-C ends it.",
        ]

    def _key_lines(self, command: str) -> list[str]:
        if self.first_key is None:
            return [f"  Keys        {command} keys create NAME --role admin{self._place()}"]
        return [f"  Admin key   {self.first_key}   (shown once, keep it)"]

    def _place(self) -> str:
        """The flag by which other commands find this database; an address may hold a password: not shown."""
        if self.settings.database_url is not None:
            return " --database-url URL"
        return f" --data-dir {self.settings.data_dir}" if self.settings.data_dir else ""
