import { createServer, type Server, type Socket } from 'node:net';

// As much of an HTTP/1.1 server as JSON over kept-alive connections takes, for servers that are measured: requests with a content-length, answered
// one after the other. What else a request may be is refused and the connection closed. Node's own server would be much of what is measured.

export interface HttpAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Must not reject. */
export type HttpHandler = (path: string, body: string) => Promise<HttpAnswer>;

const maxHeadBytes = 16 << 10;
const maxBodyBytes = 16 << 20;
const reasons: Readonly<Record<number, string>> = {
  200: 'OK',
  400: 'Bad Request',
  404: 'Not Found',
  411: 'Length Required',
  413: 'Content Too Large',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

export function createHttpServer(handler: HttpHandler): Server {
  return createServer({ noDelay: true }, (socket) => {
    const exchange = new Exchange(socket, handler);
    socket.on('data', (chunk: Buffer) => exchange.take(chunk));
    socket.on('error', () => socket.destroy());
  });
}

interface Head {
  readonly path: string;
  readonly bodyBytes: number;
  /** The client wants no other answer on this connection. */
  readonly last: boolean;
}

/** Or the status that refuses it. */
function parseHead(text: string): Head | number {
  const line = /^[A-Z]+ (\S+) HTTP\/1\.1(?:\r\n|$)/.exec(text);
  if (line === null) return 400;
  if (/\r\ntransfer-encoding:/i.test(text)) return 411;
  const length = /\r\ncontent-length:[ \t]*(\d+)[ \t]*(?:\r\n|$)/i.exec(text);
  const bodyBytes = Number(length?.[1] ?? 0);
  if (bodyBytes > maxBodyBytes) return 413;
  return { path: line[1] ?? '', bodyBytes, last: /\r\nconnection:[ \t]*close[ \t]*(?:\r\n|$)/i.test(text) };
}

class Exchange {
  readonly #socket: Socket;
  readonly #handler: HttpHandler;
  #pending: Buffer = Buffer.alloc(0);
  #head: Head | undefined;
  /** A client says mostly the same again. */
  #lastHead: { readonly text: string; readonly head: Head } | undefined;
  #answering = false;

  constructor(socket: Socket, handler: HttpHandler) {
    this.#socket = socket;
    this.#handler = handler;
  }

  take(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    if (!this.#answering) this.#next();
    else if (this.#pending.length > maxHeadBytes + maxBodyBytes) this.#refuse(413);
  }

  #next(): void {
    this.#head ??= this.#takeHead();
    if (this.#head === undefined || this.#pending.length < this.#head.bodyBytes) return;
    const { path, bodyBytes, last } = this.#head;
    this.#head = undefined;
    const body = this.#pending.toString('utf8', 0, bodyBytes);
    this.#pending = this.#pending.subarray(bodyBytes);
    this.#answering = true;
    void this.#handler(path, body).then((answer) => {
      this.#answering = false;
      if (this.#socket.destroyed) return;
      this.#write(answer, last);
      if (!last) this.#next();
    });
  }

  #takeHead(): Head | undefined {
    const end = this.#pending.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.#pending.length > maxHeadBytes) this.#refuse(400);
      return undefined;
    }
    const text = this.#pending.toString('latin1', 0, end);
    const head = this.#lastHead?.text === text ? this.#lastHead.head : parseHead(text);
    if (typeof head === 'number') {
      this.#refuse(head);
      return undefined;
    }
    this.#lastHead = { text, head };
    this.#pending = this.#pending.subarray(end + 4);
    return head;
  }

  #refuse(status: number): void {
    this.#pending = Buffer.alloc(0);
    this.#answering = true;
    this.#write({ status, body: { code: 'not-understood' } }, true);
  }

  #write({ status, body }: HttpAnswer, last: boolean): void {
    const json = JSON.stringify(body);
    const head = `HTTP/1.1 ${status} ${reasons[status] ?? 'Unknown'}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}\r\n`;
    const answer = `${head}${last ? 'connection: close\r\n' : ''}\r\n${json}`;
    if (last) this.#socket.end(answer);
    else this.#socket.write(answer);
  }
}
