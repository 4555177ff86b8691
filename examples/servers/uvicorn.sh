# uvicorn on rloop, with as many workers as one wants (needs uvicorn 0.36)
uvicorn app:app --loop rloop:new_uring_event_loop --workers 2
