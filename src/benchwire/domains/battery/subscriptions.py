"""What MQTT messages mean, from a mapping file in TOML.

::

    [[subscriptions]]                  # one JSON object with many fields
    topic = "plant/+/telemetry"
    device_level = 2                   # levels of a topic count from 1
    time = "ts"                        # ISO 8601, or seconds or milliseconds since 1970
    [subscriptions.json]
    soc = "battery.soc"
    cell_max_voltage = { path = "cells.max_mv", scale = 0.001 }

    [[subscriptions]]                  # one number in each topic
    topic = "site/inverter/+"
    device_id = "ZHPESS232A230002"
    field_level = 3
    [subscriptions.levels]
    power = { field = "apparent_power", scale = 0.001 }
    dc_voltage = "dc_voltage"

    [[subscriptions]]                  # one number, one field
    topic = "site/bms/soc"
    device_id = "ZHPESS232A230002"
    field = "soc"

Every message is a reading of its own: numbers of several topics are not gathered into one.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator
from pydantic.dataclasses import dataclass

from benchwire.domains.battery.mapping_file import (
    GROUP_OF,
    DeviceId,
    known_field,
    read_mapping,
    scaled,
)
from benchwire.domains.battery.samples import DAY_US, MICROSECONDS, Reading
from benchwire.domains.battery.signals import DEVICE_ID, PATHS
from benchwire.foundation.clock import microseconds

_LARGEST_PAYLOAD = 64 * 1024
_LARGEST_NUMBER = 1e12
# As seconds this is the year 5138, as milliseconds 1973: a larger number is in milliseconds.
_MILLISECONDS_FROM = 1e11
_EARLIEST_US = microseconds(datetime(2000, 1, 1, tzinfo=UTC))
_FORM = ConfigDict(extra="forbid")

Level = Annotated[int, Field(ge=1, le=64, strict=True)]


class MessageUnusable(Exception):
    """A message holds nothing that can be stored; the text says why."""


@dataclass(frozen=True, slots=True, config=_FORM)
class Source:
    """Where in a JSON object a number is, by keys with dots between, and its unit."""

    path: Annotated[str, Field(min_length=1)]
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0


@dataclass(frozen=True, slots=True, config=_FORM)
class Target:
    """The field that a plain number is for, and its unit."""

    field: str
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        known_field(self.field, None)
        return self


def _or_text(key: str) -> BeforeValidator:
    return BeforeValidator(lambda given: {key: given} if isinstance(given, str) else given)


@dataclass(frozen=True, slots=True, config=_FORM)
class Subscription:
    """A filter of topics and what its messages hold; see the module for the three forms."""

    topic: Annotated[str, Field(min_length=1, max_length=1024)]
    device_id: DeviceId | None = None
    device_level: Level | None = None
    group: Literal["bms", "pcs"] | None = None
    json: Mapping[str, Annotated[Source, _or_text("path")]] | None = None
    time: Annotated[str, Field(min_length=1)] | None = None
    field: str | None = None
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0
    field_level: Level | None = None
    levels: Mapping[str, Annotated[Target, _or_text("field")]] | None = None

    @model_validator(mode="after")
    def _is_one_of_the_forms(self) -> Self:
        for mistake in (*_in_topic(self.topic), *self._mistakes()):
            raise ValueError(mistake)
        for field in self._fields:
            known_field(field, self.group)
        return self

    @property
    def _fields(self) -> Iterable[str]:
        if self.levels is not None:
            return [target.field for target in self.levels.values()]
        return self.json or [self.field or ""]

    def _mistakes(self) -> Iterable[str]:
        if (self.device_id is None) == (self.device_level is None):
            yield "either device_id or device_level is needed"
        if [self.json, self.field, self.levels].count(None) != 2:
            yield "one of json, field and levels is needed"
        if (self.levels is None) != (self.field_level is None):
            yield "field_level and levels go together"
        if self.time is not None and self.json is None:
            yield "only a JSON object tells a time"
        if self.field is None and (self.scale, self.offset) != (1.0, 0.0):
            yield "here scale and offset belong to each field"
        there = self.topic.count("/") + 1
        for name, level in (("device", self.device_level), ("field", self.field_level)):
            if level is not None and level > there and not self.topic.endswith("#"):
                yield f"{name}_level is {level}, the topic has {there}"

    def matches(self, topic: str) -> bool:
        """Whether a message with that topic is meant."""
        wanted, given = self.topic.split("/"), topic.split("/")
        if wanted[-1] == "#":
            wanted = wanted[:-1]
            given = given[: len(wanted)]
        return len(wanted) == len(given) and all(
            one in ("+", other) for one, other in zip(wanted, given, strict=True)
        )

    def read(self, topic: str, payload: bytes, arrived_us: int) -> "Message":
        """Return what a message says.

        Raises
        ------
        MessageUnusable
            If there is nothing in it to store.
        """
        if len(payload) > _LARGEST_PAYLOAD:
            raise MessageUnusable(f"it has {len(payload)} bytes")
        levels = topic.split("/")
        device_id = self.device_id or _level(levels, self.device_level)
        if not re.fullmatch(DEVICE_ID, device_id) or device_id in PATHS:
            raise MessageUnusable("its topic names no possible device")
        content = _content(payload)
        at_us, tells_time = arrived_us, self.time is not None
        if self.time is not None:
            at_us = _time(_at(content, self.time), arrived_us)
        mistakes: list[str] = []
        values: dict[str, float] = {}
        for field, found, (scale, offset) in self._found(levels, content):
            if found is None:
                continue
            if isinstance(found, bool) or not isinstance(found, int | float):
                mistakes.append(f"{field} is not a number")
            elif not abs(found) <= _LARGEST_NUMBER:
                mistakes.append(f"{field} is not a possible number")
            elif (value := scaled(float(found), scale, offset)) is not None:
                values[field] = value
        if not values:
            raise MessageUnusable(mistakes[0] if mistakes else "it has none of the fields")
        return Message(device_id, _by_group(values, at_us), tells_time, tuple(mistakes))

    def _found(
        self, levels: Sequence[str], content: object
    ) -> Iterable[tuple[str, object, tuple[float, float]]]:
        if self.json is not None:
            for field, source in self.json.items():
                yield field, _at(content, source.path), (source.scale, source.offset)
        elif self.field is not None:
            yield self.field, content, (self.scale, self.offset)
        elif self.levels is not None:
            target = self.levels.get(_level(levels, self.field_level))
            if target is not None:
                yield target.field, content, (target.scale, target.offset)


@dataclass(frozen=True, slots=True)
class Message:
    """What a message says.

    Parameters
    ----------
    readings
        By group.
    tells_time
        Whether their time is the message's own; otherwise it is that of its arrival.
    mistakes
        What had to be left out, and why.
    """

    device_id: str
    readings: Mapping[str, Reading]
    tells_time: bool
    mistakes: tuple[str, ...]


@dataclass(frozen=True, slots=True, config=_FORM)
class _File:
    subscriptions: tuple[Subscription, ...]

    @model_validator(mode="after")
    def _are_some(self) -> Self:
        if not self.subscriptions:
            raise ValueError("there is no subscription in it")
        return self


def load_subscriptions(path: Path) -> tuple[Subscription, ...]:
    """Return the subscriptions that a file lists.

    Raises
    ------
    MappingInvalid
        With every mistake in the file.
    """
    return read_mapping(path, _File).subscriptions


def _in_topic(topic: str) -> Iterable[str]:
    levels = topic.split("/")
    if any("+" in level and level != "+" for level in levels):
        yield "a + in a topic stands alone between slashes"
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        yield "a # is the last level of a topic, and alone there"
    if "\0" in topic:
        yield "a topic has no NUL"


def _level(levels: Sequence[str], place: int | None) -> str:
    return levels[place - 1] if place is not None and place <= len(levels) else ""


def _content(payload: bytes) -> object:
    try:
        return json.loads(payload, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MessageUnusable("it is not JSON") from error


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _at(content: object, path: str) -> object:
    """Return what is under keys with dots between; None if it is not there."""
    found: Any = content
    for key in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _time(told: object, arrived_us: int) -> int:
    at_us = _told_time(told)
    if not _EARLIEST_US <= at_us <= arrived_us + DAY_US:
        raise MessageUnusable("its time is not a possible one")
    return at_us


def _told_time(told: object) -> int:
    if isinstance(told, str):
        try:
            moment = datetime.fromisoformat(told)
        except ValueError as error:
            raise MessageUnusable("its time is not ISO 8601") from error
        # Times without a zone are UTC, as everywhere in this domain.
        return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if isinstance(told, bool) or not isinstance(told, int | float):
        raise MessageUnusable("it tells no time")
    if not abs(told) <= _LARGEST_NUMBER * 1000:
        raise MessageUnusable("its time is not a possible one")
    return round(told * (1000 if abs(told) >= _MILLISECONDS_FROM else MICROSECONDS))


def _by_group(values: Mapping[str, float], at_us: int) -> Mapping[str, Reading]:
    groups: dict[str, dict[str, float | None]] = {}
    for field, value in values.items():
        groups.setdefault(GROUP_OF[field], {})[field] = value
    return {group: Reading(at_us, fields) for group, fields in groups.items()}
