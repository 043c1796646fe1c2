/** What a session needs of whatever carries its messages. `listen` makes these from WebSockets. */

/** Who is at the other end, as the kernel says it. */
export interface Peer {
  readonly transport: 'unix' | 'tcp';
  /** Unix: the credentials of the process when it connected. The process id is for people to read, and decides nothing. */
  readonly uid?: number;
  readonly gid?: number;
  readonly pid?: number;
  /** TCP: address and port. Unix: the path of the socket. */
  readonly address: string;
}

export interface Connection {
  /** Queues one whole message. Does nothing once the connection has ended. Never throws. */
  send(bytes: Uint8Array): void;
  /** Bytes that the kernel has not taken yet, and a fixed cost for each message among them. */
  readonly waiting: number;
  /** Stops and starts reading. Messages that were read already may still come after a pause. */
  pause(): void;
  resume(): void;
  /** The peer said who it is: the deadline for that is lifted, and the connection no longer counts among the unknown ones. */
  authenticated(): void;
  /** Calls back once the peer has read everything that was sent until now. Not when the connection ends before. */
  whenRead(callback: () => void): void;
  /** Sends what is queued, then closes with a WebSocket status code. Ends anyway after a short time. */
  end(status: number, reason: string): void;
  /** Ends at once; what is queued is lost. */
  destroy(): void;

  // Set by the session.
  onMessage: (bytes: Uint8Array, binary: boolean) => void;
  /** The kernel took something. */
  onSent: () => void;
  /** The peer sends more than `limit` bytes at once. The last moment at which it can be told; the connection then ends by itself. */
  onTooLarge: (limit: number) => void;
  /** The peer broke the rules of the transport; the connection is ending because of that. */
  onViolation: (what: string) => void;
  /** The connection ended, whoever ended it. Called once. */
  onEnd: (reason: string) => void;
}
