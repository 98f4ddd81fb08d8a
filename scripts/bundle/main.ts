// Gathers the commands and the rank process, with the packages they use, in a few files: Node reads those in a fraction of the
// time that it needs for some hundred modules. packages/cli/bin/skein runs them as long as no source is newer.
// Usage: node scripts/bundle/main.ts FOLDER
import { createRequire } from 'node:module';
import path from 'node:path';
import { type Plugin, rolldown } from 'rolldown';

const root = path.resolve(import.meta.dirname, '../..');
const entries = {
  main: path.join(root, 'packages/cli/src/main.ts'),
  'rank-process': path.join(root, 'packages/agent/src/rank/rank-process.ts'),
};
const ours = [path.join(root, 'packages'), path.join(root, 'native/lib')].map((folder) => folder + path.sep);

/** The place where the files will lie: paths in them are relative to it. */
const folder = path.join(root, '.skein/bundle');
const [target = folder] = process.argv.slice(2);

/** They look for a binary beside them. */
const leftOutside = new Set(['tokenizers', 'zeromq']);

const outside: Plugin = {
  name: 'outside',
  resolveId(source, importer) {
    if (importer === undefined || !leftOutside.has(source)) return null;
    return { id: path.relative(folder, createRequire(importer).resolve(source)), external: true };
  },
};

/** Parts that nobody here asks for, and that would load TLS, clusters and worker threads. */
const unusedParts = /\/(prom-client\/lib\/(pushgateway|cluster)|pino\/lib\/transport)\.js$/;

const unused: Plugin = {
  name: 'unused',
  load: (id) => (unusedParts.test(id) ? 'module.exports = class {}' : null),
};

/** A module that asks where it is means its source, save where it names a program to start: that is bundled too. */
const places: Plugin = {
  name: 'places',
  transform(code, id) {
    if (!path.isAbsolute(id)) return null;
    const source = JSON.stringify(path.relative(folder, id));
    return code.replaceAll(/import\.meta\.(url\b|resolve\('\.\/([\w-]+)\.ts'\))/g, (_, asked, program) =>
      asked === 'url' ? `new URL(${source}, import.meta.url).href` : `new URL('./${program}.js', import.meta.url).href`,
    );
  },
};

/** An import of a module of Node reads all its exports, and some of them load a lot: those of node:http an HTTP client, which
 *  takes 50 ms, those of node:crypto the Web's cryptography. */
const nodeModules: Plugin = {
  name: 'node-modules',
  renderChunk: (code) =>
    code.replaceAll(/^import (\w+|\{[^}]+\}) from "(?:node:)?([a-z_/]+)";$/gm, (_, names: string, name: string) => {
      const given = `globalThis.process.getBuiltinModule("node:${name}")`;
      return `const ${names.replaceAll(' as ', ': ')} = ${given};`;
    }),
};

// Each by itself: what two share would be in files of its own, and every file takes time.
for (const [name, input] of Object.entries(entries)) await bundle(name, input);

async function bundle(name: string, input: string): Promise<void> {
  const bundled = await rolldown({
    input: { [name]: input },
    platform: 'node',
    plugins: [outside, unused, places, nodeModules],
    treeshake: {
      // Importing one of our modules does nothing by itself; it is there when something of it is used.
      moduleSideEffects: (id) => id === input || !ours.some((prefix) => id.startsWith(prefix)),
    },
  });
  const chunkFileNames = `${name}-[name].js`;
  await bundled.write({ dir: target, format: 'esm', entryFileNames: '[name].js', chunkFileNames });
  await bundled.close();
}
