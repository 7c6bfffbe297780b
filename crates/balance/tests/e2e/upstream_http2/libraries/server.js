// node server.js PORT [CERTIFICATE KEY]: HTTP/2 by Node's own library. The paths: see libraries.rs.
const fs = require("fs");
const http2 = require("http2");

const [port, certificate, key] = process.argv.slice(1);
const server = certificate
  ? http2.createSecureServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) })
  : http2.createServer();

const asked = new Set();

server.on("stream", (stream, head) => {
  asked.add(stream.session);
  let sum = "";
  const content = [];
  stream.on("data", (piece) => content.push(piece));
  stream.on("trailers", (trailers) => { sum = trailers["x-sum"]; });
  stream.on("error", () => {});
  const answer = (body) => {
    stream.respond({ ":status": 200, "content-length": body.length });
    stream.end(body);
  };
  switch (head[":path"]) {
    case "/connections": return answer(String(asked.size));
    case "/large": return answer(Buffer.alloc(3000000, "l"));
    case "/echo": return stream.on("end", () => answer(Buffer.concat(content)));
    case "/behind": return stream.on("end", () => {
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": sum }));
      stream.end(Buffer.concat(content));
    });
    case "/early":
      stream.respond({ ":status": 403 });
      return stream.end("early", () => stream.close(http2.constants.NGHTTP2_NO_ERROR));
    case "/reset": return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    case "/half":
      stream.respond({ ":status": 200, "content-length": 100 });
      return stream.write("half", () => stream.destroy(new Error("INTERNAL_ERROR, where close() would end it first")));
    default:
      stream.respond({ ":status": 404 });
      return stream.end();
  }
});

server.listen(Number(port), "127.0.0.1");
