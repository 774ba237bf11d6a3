// Turns a staged JavaScript function into a component: node build.mjs '{"source", "wit", "world", "out", "disable"}'.
// Prints nothing on success; on failure the reason goes to standard error and the exit status is 1.
import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const order = JSON.parse(process.argv[2]);
try {
  const { component } = await componentize({
    sourcePath: order.source,
    witPath: order.wit,
    worldName: order.world,
    disableFeatures: order.disable,
  });
  await writeFile(order.out, component);
} catch (error) {
  console.error(String(error?.message ?? error));
  process.exitCode = 1;
}
