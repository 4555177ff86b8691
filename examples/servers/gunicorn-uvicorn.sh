# uvicorn in gunicorn's workers (pip install uvicorn-worker)
gunicorn app:app -k rloop.gunicorn.UvicornWorker --workers 2
