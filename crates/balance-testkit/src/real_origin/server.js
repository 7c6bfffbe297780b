const fs = require("fs");
const http = require("@MODULE@");
const path = require("path");

const root = "@DIRECTORY@/root";

const server = http.createServer((request, response) => {
  const name = request.url.split("?")[0];
  if (name === "/echo") {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => response.end(Buffer.concat(parts)));
    return;
  }
  if (name === "/chunked") {
    response.write("one ");
    response.end("two\n");
    return;
  }
  const file = path.join(root, path.normalize(name === "/" ? "/index.html" : name));
  fs.readFile(file, (error, content) => {
    response.statusCode = error ? 404 : 200;
    response.end(error ? "not found\n" : content);
  });
});

// Node's own is 5 s; shorter, so that tests meet connections that it has closed.
server.keepAliveTimeout = 2000;
server.listen(@PORT@, "127.0.0.1");
