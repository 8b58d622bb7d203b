import { withOpen } from '../image/make-image.js';
import { runTool } from '../support/run-tool.js';

const fill = 'cat /dev/zero > "$0"; dd if=/dev/zero of="$0" bs=4k oflag=append conv=notrunc || true';

/** Takes all room of a filesystem but some, with a file; gives its path. */
export async function fillUpTo(path: string, leftKib: number): Promise<string> {
  await runTool('sh', ['-c', fill, path]);
  await withOpen(path, 'r+', async (file) => {
    await file.truncate(Math.max(0, (await file.stat()).size - leftKib * 1024));
    await file.sync();
  });
  return path;
}
