#!/usr/bin/env node
/** The `ringwarden` command. */
import { Exit } from './failure.js';
import { run } from './program.js';

// Whoever reads our output may stop reading (head, a pager): that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? Exit.ok : Exit.failed));

process.exitCode = await run(process.argv.slice(2));
