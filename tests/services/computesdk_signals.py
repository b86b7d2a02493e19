"""The signal service of the daemon of ComputeSDK's stand-in."""
import time

from aiohttp import web

from computesdk_wire import Answer, Refusal, field


class Signals:
    def __init__(self, daemon):
        self.daemon = daemon
        self.active = self.queue_closed = False

    def status(self):
        return {'status': 'active' if self.active else 'stopped',
                'channel': 'signals', 'ws_url': '/ws'}

    def switch(self, on):
        strict = self.daemon.gen == 1 or self.daemon.has('strict-signals')
        if self.active == on and strict:
            raise Refusal(500, 'signal service already %s' % (
                'active' if on else 'stopped'))
        if not on and strict:
            self.queue_closed = True  # and the next start keeps it
        self.active = on

    def emit(self, signal, **data):
        """False if the service does not run."""
        if not self.active:
            return False
        message = {'signal': signal, **data}
        if self.daemon.gen == 1 or self.daemon.has('nested-signals'):
            message = {'signal': signal, 'timestamp': int(time.time()),
                       'data': data}
        self.daemon.hub.publish('signals', 'signal', message)
        return True


def emit(call, signal, **data):
    signals = call.daemon.signals
    if signals.active and signals.queue_closed:
        signals.queue_closed = False
        return web.Response(status=500)
    if not signals.emit(signal, **data):
        raise Refusal(500, 'signal service not active')
    return Answer(data)


async def start(call):
    call.daemon.signals.switch(True)
    return Answer(call.daemon.signals.status())


async def stop(call):
    call.daemon.signals.switch(False)
    return Answer({'status': 'stopped'})


async def status(call):
    return Answer(call.daemon.signals.status())


async def port(call):
    body = await call.body()
    number = field(body, 'port', int, True)
    kind, url = field(body, 'type', str, True), field(body, 'url', str, True)
    if kind not in ('open', 'close'):
        raise Refusal(400, "Key: 'Type' Error:Field validation for 'Type' "
                      "failed on the 'oneof' tag")
    return emit(call, 'port', port=number, type=kind, url=url)


async def port_by_path(call, number, kind):
    if not number.isdigit() or kind not in ('open', 'close'):
        raise Refusal(400, 'invalid port or type')
    return emit(call, 'port', port=int(number), type=kind,
                url='http://localhost:' + number)


async def error(call):
    return emit(call, 'error', message=field(await call.body(), 'message',
                                             str, True))


async def server_ready(call):
    body = await call.body()
    return emit(call, 'server-ready', port=field(body, 'port', int, True),
                url=field(body, 'url', str, True))
