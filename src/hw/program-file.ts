/**
 * A program of the build: `dist/program/NAME.js`, one file with all that it imports at once (scripts/bundle.mjs). Some hundred modules take longer to load one
 * by one than a server takes to start. Found from the sources, from the build and from a program itself: all are two folders below the package.
 */
export const programFile = (name: 'ringwarden' | 'engine-thread' | 'device-thread'): URL => new URL(`../../dist/program/${name}.js`, import.meta.url);
