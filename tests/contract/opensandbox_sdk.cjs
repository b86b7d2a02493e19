// What OpenSandbox's own SDK does with a server: each step is said, and what
// came of it.  usage: node opensandbox_sdk.cjs DOMAIN
const assert = require('assert');
const sdk = require('@alibaba-group/opensandbox');

async function main() {
  const connectionConfig = new sdk.ConnectionConfig({
    domain: process.argv[2], apiKey: 'right-key', requestTimeoutSeconds: 30,
  });
  const s = await sdk.Sandbox.create({
    connectionConfig, image: 'python:3.11', timeoutSeconds: 600,
    metadata: {team: 'red'}, env: {X: 'from env'},
  });
  console.log('created');
  assert.equal((await s.getInfo()).status.state, 'Running');

  const ran = await s.commands.run('echo "$X"; echo err >&2; printf "a\\nb"');
  assert.deepEqual(ran.logs.stdout.map((l) => l.text), ['from env', 'a', 'b']);
  assert.deepEqual(ran.logs.stderr.map((l) => l.text), ['err']);
  const failed = await s.commands.run('exit 3');
  assert.equal(failed.error.value, '3');
  console.log('ran');

  await s.files.createDirectories([{path: '/workspace/d', mode: 755}]);
  await s.files.writeFiles([
    {path: '/workspace/d/a.txt', data: 'text \u00fc\n', mode: 644},
    {path: '/workspace/d/b.bin', data: new Uint8Array([0, 255, 10]),
      mode: 600},
  ]);
  assert.equal(await s.files.readFile('/workspace/d/a.txt'), 'text \u00fc\n');
  assert.deepEqual([...await s.files.readBytes('/workspace/d/b.bin')],
    [0, 255, 10]);
  const found = await s.files.search({path: '/workspace', pattern: '*.txt'});
  assert.deepEqual(found.map((f) => f.path), ['/workspace/d/a.txt']);
  await s.files.deleteFiles(['/workspace/d/a.txt']);
  await s.files.deleteDirectories(['/workspace/d']);
  console.log('files');

  assert.ok((await s.getMetrics()).cpuCount > 0);
  assert.match(await s.getEndpointUrl(8080), /^http:\/\/127\.0\.0\.1:/);
  await s.renew(1200);
  const manager = sdk.SandboxManager.create({connectionConfig});
  const list = await manager.listSandboxInfos({metadata: {team: 'red'}});
  assert.deepEqual(list.items.map((i) => i.id), [s.id]);
  console.log('managed');

  await s.pause();
  assert.equal((await manager.getSandboxInfo(s.id)).status.state, 'Paused');
  const again = await s.resume();
  assert.equal((await again.commands.run('echo back')).logs.stdout[0].text,
    'back');
  console.log('resumed');

  await again.kill();
  await assert.rejects(manager.getSandboxInfo(s.id), sdk.SandboxException);
  await again.close();
  await s.close();
  await manager.close();
  console.log('killed');
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
