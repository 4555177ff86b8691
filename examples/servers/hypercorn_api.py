"""hypercorn within one's own program: `python hypercorn_api.py`."""

import os

from app import app
from hypercorn.asyncio import serve
from hypercorn.config import Config

import rloop

config = Config()
config.bind = [f"127.0.0.1:{os.environ.get('PORT', '8000')}"]

if __name__ == "__main__":
    rloop.run(serve(app, config))
