// SPDX-License-Identifier: Apache-2.0
// web.js PORT UNRULED UPSTREAM: listens on both ports. "/" answers with the address that asks, "/fetch" with what
// UPSTREAM answers.
"use strict";

const http = require("node:http");

const [port, unruled, upstream] = process.argv.slice(2);

function answer(request, response) {
  if (request.url !== "/fetch") {
    response.end(`${request.socket.remoteAddress}\n`);
    return;
  }
  http
    .get(`http://${upstream}/`, (got) => got.pipe(response))
    .on("error", (error) => {
      response.statusCode = 502;
      response.end(`${error.message}\n`);
    });
}

for (const one of [port, unruled]) {
  http.createServer(answer).listen(Number(one));
}
