"""Where settings come from besides flags: the environment, by exact name, and a TOML file.

Used by every command that takes `Settings`. A key that nobody knows is refused, never ignored: a misspelt
limit that silently stays at its default is worse than a start that fails.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, Token
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict, Env

from driftlock.errors import UsageError
from driftlock.runtime.settings import PREFIX, Settings, documented

FILE = "driftlock.toml"

_KNOWN = frozenset({"config", *(field.name for field in fields(Settings))})

ConfigFile = Annotated[
    Path | None,
    Parameter(
        name="--config",
        help=f"TOML file with settings; {FILE} of the working folder when there is one.",
        show_default=False,
    ),
]


class Environment(Env):
    """cyclopts' provider matches prefixes of names; this one takes exact names only, and no empty values."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        for argument in arguments:
            if argument.tokens or argument.name.removeprefix("--").replace("-", "_") not in _KNOWN:
                continue
            name = self._convert_argument(commands, argument)
            if value := os.environ.get(name):
                argument.append(Token(keyword=name, value=value, source=self.source))


class SettingsFile:
    """A provider that reads the TOML file which `--config` (or its environment variable) names."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        path, given = _chosen(arguments)
        if path is None:
            return
        values = _read(path, given=given)
        source = Dict(values, source=str(path), allow_unknown=True, use_commands_as_keys=False)
        source(app, commands, arguments)
        for argument in arguments:  # whose keyword is `[key]`, which the printing of faults takes for markup
            argument.tokens[:] = [
                token.evolve(keyword=token.keyword.strip("[]")) if token.keyword else token
                for token in argument.tokens
            ]


def providers() -> list[Any]:
    """In order of precedence, after flags."""
    return [Environment(PREFIX, command=False), SettingsFile()]


def _chosen(arguments: ArgumentCollection) -> tuple[Path | None, bool]:
    """The file, and whether somebody named it."""
    for argument in arguments:
        if argument.name == "--config" and argument.tokens:
            return Path(argument.tokens[-1].value), True
    return Path(FILE), False


def _read(path: Path, *, given: bool) -> dict[str, Any]:
    try:
        loaded = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        if not given:
            return {}
        raise UsageError(f"The settings file {path} does not exist.") from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise UsageError(f"The settings file {path} cannot be read: {cause}.") from cause
    except tomllib.TOMLDecodeError as cause:
        raise UsageError(f"The settings file {path} is not valid TOML: {cause}.") from cause
    known = sorted(_KNOWN - {"config"})
    for key in loaded:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "See docs/reference/settings.md for every setting."
            raise UsageError(f"{path} has a setting {key!r} that Driftlock does not know.", hint=hint)
    _check_types(path, loaded)
    return loaded


def _check_types(path: Path, loaded: dict[str, Any]) -> None:
    """Refuse values of another TOML type than the setting's: converted, `true` would be the text True."""
    kinds = {setting.name: setting.kind for setting in documented()}
    for key, value in loaded.items():
        wanted, fits = _FITS.get(kinds[key], ("a text", _is_text))
        if not fits(value):  # the value is not told: it may hold a password
            found = _TYPES.get(type(value).__name__, "a time")
            raise UsageError(f"{key} must be {wanted}; in {path} it is {found}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    return all(map(_is_text, value)) if isinstance(value, list) else _is_text(value)


_FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "whole number": ("a whole number", lambda value: type(value) is int),
    "number": ("a number", lambda value: type(value) in (int, float)),
    "names": ("a text or a list of texts", _is_names),
}
_TYPES = {
    "str": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a fraction",
    "list": "a list",
    "dict": "a table",
}
