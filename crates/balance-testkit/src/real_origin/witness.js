const fs = require("fs");
const http = require("http");

const log = fs.openSync("@DIRECTORY@/seen.log", "a");

// As nginx and Apache write what is not visible ASCII.
function escape(bytes) {
  let text = "";
  for (const byte of bytes) {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : "\\x" + byte.toString(16).padStart(2, "0");
  }
  return text || "-";
}

const server = http.createServer({ joinDuplicateHeaders: true }, (request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const field = (name) => escape(Buffer.from(request.headers[name] || "", "latin1"));
    const seen = [
      field("x-request-id"), escape(Buffer.from(request.method)), escape(Buffer.from(request.url, "latin1")),
      field("host"), field("x-marker"), "-", escape(Buffer.concat(parts)),
    ];
    fs.writeSync(log, seen.join("\t") + "\n");
    const marker = request.headers["x-marker"];
    if (marker) response.setHeader("X-Seen", marker);
    response.end();
  });
});

server.listen(@PORT@, "127.0.0.1");
