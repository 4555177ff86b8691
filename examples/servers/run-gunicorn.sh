# gunicorn without our worker classes
python -m rloop run --as-uvloop -m gunicorn app:app -k uvicorn_worker.UvicornWorker --workers 2
