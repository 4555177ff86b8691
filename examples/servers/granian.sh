# granian knows a loop of this name
granian app:app --interface asgi --loop rloop --workers 2
