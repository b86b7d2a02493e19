// What ComputeSDK's own SDK does with a gateway and the daemon of a sandbox:
// each step is said, and what came of it.
// usage: node computesdk_sdk.cjs HOST:PORT
const assert = require('assert');
const {compute} = require('computesdk');

// as a browser's, which the SDK expects: global, and without Node's buffers
globalThis.WebSocket = class extends require('ws') {
  constructor(...args) {
    super(...args);
    this.binaryType = 'arraybuffer';
  }
};

function told(emitter, event) {
  return new Promise((done) => emitter.on(event, done));
}

async function main() {
  compute.setConfig({
    provider: 'e2b', computesdkApiKey: 'right-key', e2b: {apiKey: 'key'},
    gatewayUrl: 'http://' + process.argv[2], WebSocket,
  });
  const s = await compute.sandbox.create({envs: {X: 'from env'}});
  assert.equal((await compute.sandbox.getById(s.sandboxId)).sandboxId,
    s.sandboxId);
  console.log('created');

  const ran = await s.runCommand('echo "$X"; echo err >&2; exit 3');
  assert.deepEqual([ran.stdout, ran.stderr, ran.exitCode],
    ['from env\n', 'err\n', 3]);
  const code = await s.runCode('print(6 * 7)', 'python');
  assert.equal(code.output.trim(), '42');
  console.log('ran');

  await s.filesystem.mkdir('d');
  await s.filesystem.writeFile('d/a.txt', 'text \u00fc\n');
  assert.equal(await s.filesystem.readFile('d/a.txt'), 'text \u00fc\n');
  assert.deepEqual((await s.filesystem.readdir('d')).map((f) => f.name),
    ['a.txt']);
  assert.ok(await s.filesystem.exists('d/a.txt'));
  await s.filesystem.remove('d/a.txt');
  assert.ok(!await s.filesystem.exists('d/a.txt'));
  console.log('files');

  const t = await s.terminal.create({pty: true, encoding: 'base64'});
  let said = '';
  const answer = new Promise((done) => t.on('output', (data) => {
    said += data;
    if (said.includes('sum 42'))
      done();
  }));
  t.write('echo sum $((6 * 7))\n');
  await answer;
  await t.destroy();
  console.log('terminal');

  const w = await s.watcher.create('/', {});
  const changed = told(w, 'change');
  await s.filesystem.writeFile('new.txt', 'x');
  assert.match((await changed).path, /new\.txt$/);
  await w.destroy();
  const signals = await s.signal.start();
  const port = told(signals, 'port');
  await s.signal.emitPort(3000, 'open', 'http://127.0.0.1:3000');
  assert.equal((await port).port, 3000);
  await signals.stop();
  console.log('events');

  await s.env.update('.env', {KEY: 'value'});
  assert.deepEqual(await s.env.retrieve('.env'), {KEY: 'value'});
  const server = await s.server.start({slug: 'web', start: 'sleep 100'});
  assert.equal(server.slug, 'web');
  assert.deepEqual((await s.server.list()).map((o) => o.slug), ['web']);
  await s.server.stop('web');
  const token = await s.sessionToken.create({description: 'test'});
  assert.equal((await s.sessionToken.retrieve(token.id)).id, token.id);
  await s.sessionToken.revoke(token.id);
  console.log('services');

  await s.destroy();
  assert.equal(await compute.sandbox.getById(s.sandboxId), null);
  console.log('destroyed');
}

main().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
