// A WebSocket client that goes through what the protocol offers, at the URL of its second argument.
// It ends with 0 and "all good", or with 1 and what was wrong. First argument: the folder of node_modules.
const assert = require("assert");
const { once } = require("events");
const WebSocket = require(process.argv[2] + "/ws");

const url = process.argv[3];

async function open(path, options) {
  const socket = new WebSocket(url + path, { origin: "http://page.test", ...options });
  await once(socket, "open");
  return socket;
}

async function answer(socket, data, options) {
  const received = once(socket, "message");
  socket.send(data, options);
  const [back, isBinary] = await received;
  return { back, isBinary };
}

async function echoes() {
  const socket = await open("/echo?x=1");
  const text = await answer(socket, "grüße");
  assert.deepStrictEqual([text.back.toString(), text.isBinary], ["grüße", false]);
  for (const length of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
    const bytes = Buffer.alloc(length, 0x5a).map((byte, index) => byte ^ index);
    const { back, isBinary } = await answer(socket, bytes);
    assert(isBinary && back.equals(bytes), "binary message of " + length);
  }
  socket.close(1000, "done");
  const [code] = await once(socket, "close");
  assert.strictEqual(code, 1000);
}

async function fragments() {
  const socket = await open("/fragments", { perMessageDeflate: false });
  const received = once(socket, "message");
  socket.send("one ", { fin: false });
  socket.ping("between");
  const [pong] = await once(socket, "pong");
  assert.strictEqual(pong.toString(), "between");
  socket.send("two ", { fin: false });
  socket.send("three", { fin: true });
  const [back] = await received;
  assert.strictEqual(back.toString(), "one two three");
  socket.terminate();
}

async function many() {
  const socket = await open("/many");
  const back = [];
  socket.on("message", (data) => back.push(data.toString()));
  for (let number = 0; number < 2000; number++) socket.send("message " + number);
  while (back.length < 2000) await once(socket, "message");
  back.forEach((text, number) => assert.strictEqual(text, "message " + number));
  socket.close(4001, "enough");
  const [code, reason] = await once(socket, "close");
  assert.deepStrictEqual([code, reason.toString()], [4001, "enough"]);
}

async function serverCloses() {
  const socket = await open("/ordered");
  socket.send("close 4002 go away");
  const [code, reason] = await once(socket, "close");
  assert.deepStrictEqual([code, reason.toString()], [4002, "go away"]);
}

(async () => {
  await echoes();
  await fragments();
  await many();
  await serverCloses();
  console.log("all good");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
