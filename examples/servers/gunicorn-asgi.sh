# gunicorn's own worker for ASGI (gunicorn 24)
gunicorn app:app -k rloop.gunicorn.ASGIWorker --workers 2
