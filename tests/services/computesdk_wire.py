"""JSON, times and errors as the daemon of ComputeSDK's stand-in has them."""
import datetime
import json
import os
import re
import urllib.parse

from aiohttp import web


class Refusal(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Answer:
    """What a call gives: wrapped in {"message", "data"}, or flat"""

    def __init__(self, data, code=200, flat=False, message='ok', **more):
        self.data, self.code, self.flat = data, code, flat
        self.more = {'message': message, **more}

    def response(self, traits):
        data = without_none(self.data)
        if 'floats' in traits:
            data = with_floats(data)
        if 'null-lists' in traits:
            data = with_null(data)
        if 'strange-members' in traits:
            data = {'x_new': {'data': [None, 1e300]}, **data}
        flat = self.flat and 'all-wrapped' not in traits
        if not flat and 'all-flat' not in traits:
            data = {**self.more, 'data': data}
        return answer(data, self.code)


def without_none(value):
    """As Go's omitempty, with None for what is empty"""
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_none(v) for v in value]
    return value


def with_null(value):
    """As Go has a list that nothing was ever put in"""
    if isinstance(value, dict):
        return {k: with_null(v) for k, v in value.items()}
    return None if value == [] else value


def with_floats(value):
    if isinstance(value, dict):
        return {k: with_floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return [with_floats(v) for v in value]
    return float(value) if type(value) is int else value


def go_text(raw):
    """Bytes made text: each byte that is none is U+FFFD, without a sign."""
    return re.sub('[\ud800-\udfff]', '\ufffd',
                  raw.decode('utf-8', 'surrogateescape'))


def name_text(name):
    return re.sub('[\ud800-\udfff]', '\ufffd', name)


def to_json(value):
    """As Go writes it: HTML made harmless."""
    text = name_text(json.dumps(value, ensure_ascii=False,
                                separators=(',', ':')))
    for c in '<>&\u2028\u2029':
        text = text.replace(c, '\\u%04x' % ord(c))
    return text


def from_json(raw):
    """Go's reading of it: what is no text in a string gets lost."""
    def clean(value):
        if isinstance(value, str):
            return name_text(value)
        if isinstance(value, list):
            return [clean(v) for v in value]
        if isinstance(value, dict):
            return {clean(k): clean(v) for k, v in value.items()}
        return value
    return clean(json.loads(go_text(raw)))


def answer(value, status=200):
    return web.Response(status=status, body=to_json(value).encode(),
                        content_type='application/json')


def fail(status, text):
    return answer({'error': name_text(text)}, status)


def not_routed():
    return web.Response(status=404, text='404 page not found')


def words(e, verb='open'):
    return '%s %s: %s' % (verb, e.filename, os.strerror(e.errno).lower())


def stamp(seconds, traits=()):
    """RFC 3339, with nine digits of fraction"""
    zone = datetime.timezone.utc
    if 'offsets' in traits:
        zone = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))
    t = datetime.datetime.fromtimestamp(int(seconds), zone).isoformat()
    return '%s.%09d%s' % (t[:19], int((seconds % 1) * 1e9),
                          t[19:].replace('+00:00', 'Z'))


def unquote(text):
    """Of a path or a query: bytes that are no text stay what they are."""
    return os.fsdecode(urllib.parse.unquote_to_bytes(text))


def query(request, name):
    """A query parameter's first value, or None"""
    for pair in request.raw_path.partition('?')[2].split('&'):
        key, _, value = pair.partition('=')
        if urllib.parse.unquote(key) == name:
            return unquote(value.replace('+', ' '))
    return None


KINDS = {str: 'string', bool: 'bool', int: 'int', dict: 'object',
         list: 'array', float: 'number'}


def field(body, name, kind, needed=False):
    """A member of that type, or None; needed ones are not empty, either."""
    value = body.get(name)
    if value is not None:
        fits = isinstance(value, kind) and not (
            kind is not bool and isinstance(value, bool))
        if kind is int and isinstance(value, float) and value == int(value):
            fits, value = True, int(value)
        if not fits:
            raise Refusal(400, 'json: cannot unmarshal into Go struct field '
                          '.%s of type %s' % (name, KINDS[kind]))
    if needed and not value:
        name = name[:1].upper() + name[1:]
        raise Refusal(400, "Key: '%s' Error:Field validation for '%s' failed "
                      "on the 'required' tag" % (name, name))
    return value


def strings(body, name):
    """An object of strings, {} if there is none"""
    value = field(body, name, dict) or {}
    if not all(isinstance(v, str) for v in value.values()):
        raise Refusal(400, 'json: cannot unmarshal into Go struct field .%s '
                      'of type map[string]string' % name)
    return value
