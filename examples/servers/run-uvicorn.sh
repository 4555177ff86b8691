# uvicorn without its option; --as-uvloop, for it takes uvloop where that is installed
python -m rloop run --as-uvloop -m uvicorn app:app --workers 2
