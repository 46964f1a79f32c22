// node's own server, telling what it saw: `node server.js PORT`; see servers.py.
const http = require("node:http");

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("error", () => {});
  request.on("end", () => {
    const body = Buffer.concat(pieces).toString("latin1");
    const text = JSON.stringify({ method: request.method, target: request.url, body });
    process.stdout.write(text + "\n");
    response.setHeader("content-length", Buffer.byteLength(text));
    response.end(text);
  });
});
server.keepAliveTimeout = 60000;
server.on("upgrade", (request, socket) => {
  process.stdout.write(JSON.stringify({ method: request.method, target: request.url, body: "(upgrade)" }) + "\n");
  socket.destroy();
});
server.listen(Number(process.argv[2]), "127.0.0.1");
