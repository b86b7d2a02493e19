"""Session tokens and magic links of the daemon of ComputeSDK's stand-in."""
import time
import uuid

from aiohttp import web

from computesdk_wire import Answer, Refusal, field, query, stamp

WEEK_S, LINK_S = 604800, 300


class Token:
    def __init__(self, daemon, description, seconds):
        self.id = daemon.ident('token')
        self.text = 'st_' + uuid.uuid4().hex
        self.description, self.seconds = description, seconds
        self.created, self.used = time.time(), None

    @property
    def expires(self):
        return self.created + self.seconds

    def shown(self, traits, used=False):
        data = {'id': self.id, 'description': self.description or None,
                'created_at': stamp(self.created, traits),
                'expires_at': stamp(self.expires, traits)}
        if used and self.used:
            data['last_used_at'] = stamp(self.used, traits)
        return data


class Tokens:
    def __init__(self, daemon):
        self.daemon = daemon
        self.all, self.links, self.jwt_given = {}, {}, False

    def new(self, description='', seconds=WEEK_S):
        token = Token(self.daemon, description, seconds)
        self.all[token.id] = token
        return token

    def of_text(self, text):
        """The valid one, or None"""
        for token in self.all.values():
            if token.text == text and token.expires > time.time():
                token.used = time.time()
                return token
        return None


def answer(call, data, status=200):
    """The sources do not agree on the shape."""
    daemon = call.daemon
    if daemon.has('camel-tokens'):
        data = {{'created_at': 'createdAt', 'expires_at': 'expiresAt',
                 'last_used_at': 'lastUsedAt'}.get(k, k): v
                for k, v in data.items()}
    return Answer(data, status, flat=daemon.has('flat-tokens'))


async def create(call):
    daemon, body = call.daemon, await call.body()
    seconds = field(body, 'expires_in' if daemon.gen == 2 else 'expiresIn',
                    int) or WEEK_S
    if seconds < 0:
        raise Refusal(400, 'invalid expiry')
    token = daemon.tokens.new(field(body, 'description', str), seconds)
    return answer(call, {**token.shown(daemon.traits), 'token': token.text,
                         'expiresIn': seconds}, 201)


async def list_all(call):
    return Answer({'tokens': [t.shown(call.daemon.traits, True)
                              for t in call.daemon.tokens.all.values()]})


def find(call, ident):
    if ident not in call.daemon.tokens.all:
        raise Refusal(404, 'token not found')
    return call.daemon.tokens.all[ident]


async def one(call, ident):
    return answer(call, find(call, ident).shown(call.daemon.traits))


async def revoke(call, ident):
    del call.daemon.tokens.all[find(call, ident).id]
    return web.Response(status=204)


# ---- magic links ----

async def link_create(call):
    daemon = call.daemon
    target = field(await call.body(), 'redirectUrl', str) or '/play/'
    if not target.startswith('/'):
        raise Refusal(400, 'redirectUrl must be relative')
    secret, until = uuid.uuid4().hex, time.time() + LINK_S
    daemon.tokens.links[secret] = (target, until)
    form = '%s/auth/magic/%s' if daemon.has('magic-path') else \
        '%s/auth/magic?token=%s'
    return Answer({'magic_url': form % (
        daemon.url_of(call.space).rstrip('/'), secret),
        'expires_at': stamp(until, daemon.traits), 'redirect_url': target},
        201)


async def link_open(call, secret=None):
    tokens = call.daemon.tokens
    secret = secret or query(call.request, 'token')
    target, until = tokens.links.pop(secret, (None, 0))
    if until < time.time():
        raise Refusal(401, 'link expired or used')
    response = web.Response(status=302, headers={'Location': target})
    response.set_cookie('session', tokens.new('magic link').text,
                        max_age=WEEK_S, httponly=True)
    return response


# ---- the state ----

async def status(call):
    data = {'authenticated': call.kind is not None, 'token_type': call.kind}
    token = call.daemon.tokens.of_text(call.token)
    if token:
        data['expires_at'] = stamp(token.expires, call.daemon.traits)
    return Answer(data)


async def info(call):
    return Answer({'message': 'Authentication is required',
                   'instructions': 'Send Authorization: Bearer <token>',
                   'endpoints': {'status': '/auth/status'}})


async def jwt(call):
    """For who asks first"""
    tokens = call.daemon.tokens
    if tokens.jwt_given:
        raise Refusal(409, 'token was given out')
    tokens.jwt_given = True
    return Answer({'token': tokens.new('jwt').text})
