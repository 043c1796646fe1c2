/** A "no" to the administrator. */
export class AdminRefusal extends Error {
  override readonly name = 'AdminRefusal';
  /** Status of HTTP (RFC 9110). */
  readonly status: number;
  readonly remedy: string;
  constructor(status: number, what: string, remedy: string) {
    super(what);
    this.status = status;
    this.remedy = remedy;
  }
}
