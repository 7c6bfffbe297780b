// A WebSocket server that sends messages back, closes when told to, and says on its standard output how
// each connection ended. Argument: the folder of node_modules.
const { WebSocketServer } = require(process.argv[2] + "/ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, maxPayload: 64 << 20 });

server.on("listening", () => console.log("listening " + server.address().port));
server.on("connection", (socket, request) => {
  console.log("open " + request.url + " origin=" + request.headers.origin);
  socket.on("message", (data, isBinary) => {
    const order = isBinary ? null : /^close (\d+) (.*)$/.exec(data.toString());
    if (order) {
      socket.close(Number(order[1]), order[2]);
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
  socket.on("close", (code, reason) => console.log("closed " + code + " " + reason));
  socket.on("error", (error) => console.log("error " + error.message));
});
