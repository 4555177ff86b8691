"""An aiohttp application on rloop.

pip install aiohttp
python examples/aiohttp_server.py
curl http://127.0.0.1:8080/you
"""

import asyncio
import os

from aiohttp import web

import rloop

PORT = int(os.environ.get("PORT", "8080"))  # 0: any that is free


async def hello(request: web.Request) -> web.Response:
    engine = getattr(asyncio.get_running_loop(), "backend", "asyncio")
    return web.json_response({"hello": request.match_info["name"], "engine": engine})


app = web.Application()
app.add_routes([web.get("/{name}", hello)])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=PORT, loop=rloop.new_event_loop())
