import { MconsoleClient } from '../../src/mconsole/mconsole-client.js';

/** Opens the socket of its second argument as the user of its first, tells what came of it, and ends without closing it. */
const [uid, socketPath = ''] = process.argv.slice(2);
process.setuid?.(Number(uid));
const result = await MconsoleClient.open(socketPath).then(
  () => 'opened',
  (error) => error.code,
);
process.stdout.write(result, () => process.exit());
