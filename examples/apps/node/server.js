import { createServer } from "node:http";

const server = createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const tick = () => response.write(`data: ${new Date().toISOString()}\n\n`);
    const timer = setInterval(tick, 1000);
    request.on("close", () => clearInterval(timer));
    tick();
    return;
  }
  response.writeHead(200, { "content-type": "text/plain" });
  response.end(request.url === "/healthz" ? "ok\n" : `${new Date().toISOString()}\n`);
});

server.listen(process.env.PORT ?? 8080);
process.on("SIGTERM", () => server.close());
